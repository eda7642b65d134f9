"""Commands that look at what was made, choose from it, hand it on, train on it and measure it."""
