"""From noise to a latent: schedules, samplers, guiders, a whole run."""
