"""Train the miniature's U-Net on cached latents: noise prediction, SD 1.5's schedule, prompt dropout, EMA.

    python tests/tools/miniature/train_unet.py --work DIR --steps 6000 [--deadline 19:10]

Resumes from DIR/unet.pt. With a deadline the learning rate falls with the clock where that is ahead of the steps.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from captions import MAIN, P1, weighted
from common import log, save_atomically, sheet
from defectforge.runner.nuts import KINDS
from diffusion import alphas_cumprod, miniature_unet, sample
from trained import TrainedVae

DROPOUT, EMA, GAMMA = 0.1, 0.995, 5.0
# Below this timestep every second picture gets another one's caption: what the picture shows is decided by then, so the
# network learns to believe its eyes, and img2img at a low denoising strength keeps a sound nut sound, as in the study.
SETTLED, LOOSE = 350, 0.5
SYNC = 5  # steps that each worker takes on its own between two averages


# (broken, zoomed) -> share. Holes are what the workflows make, whole nuts what a stranger looks at.
SHARES = {(False, False): 0.33, (False, True): 0.08, (True, False): 0.40, (True, True): 0.19}


class Batches:
    """Draws latents and captions: sound or broken, whole or zoomed, in fixed shares."""

    def __init__(self, work: Path, seed: int) -> None:
        pool = torch.load(work / "latents.pt", weights_only=True)
        self.latents, self.masks, self.kinds = pool["latents"], pool["masks"], pool["kinds"]
        zoomed = pool["zooms"] < 0.9
        shown = self.kinds >= 0
        self.groups = {
            (broken, zoom): torch.nonzero((zoomed == zoom) & (shown if broken else torch.ones_like(shown)))[:, 0]
            for broken, zoom in SHARES
        }
        stored = torch.load(work / "contexts.pt", weights_only=True)
        self.contexts = stored["contexts"]
        self.row = {text: i for i, text in enumerate(stored["texts"])}
        self.generator = torch.Generator().manual_seed(seed)

    def _choice(self, weights: list[float]) -> int:
        return int(torch.multinomial(torch.tensor(weights), 1, generator=self.generator))

    def caption(self, kind: int | None, zoomed: bool) -> str:
        options = weighted(None if kind is None else KINDS[kind], zoomed)
        return options[self._choice([p for _, p in options])][0]

    def draw(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents ``[count, 4, 16, 16]`` and contexts ``[count, 77, 768]``."""
        latents, rows = [], []
        for _ in range(count):
            broken, zoomed = list(SHARES)[self._choice(list(SHARES.values()))]
            members = self.groups[(broken, zoomed)]
            index = int(members[torch.randint(len(members), (), generator=self.generator)])
            latents.append(self.latents[index, int(broken)])
            dropped = float(torch.rand((), generator=self.generator)) < DROPOUT
            kind = int(self.kinds[index]) if broken else None
            rows.append(0 if dropped else self.row[self.caption(kind, zoomed)])
        return torch.stack(latents).float(), self.contexts[rows].float()


def learning_rate(base: float, step: int, progress: float) -> float:
    """Warm-up, then a cosine to a twentieth."""
    falling = 0.05 + 0.95 * 0.5 * (1 + float(torch.cos(torch.tensor(3.14159265 * min(progress, 1.0)))))
    return base * min(1.0, (step + 1) / 150) * falling


def noised(
    latents: torch.Tensor, alphas: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noisy latents, their timesteps, the noise, and min-SNR weights (Hang et al. 2023) of a noise prediction."""
    count = len(latents)
    times = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count  # stratified
    times = (times * 1000).long().clamp(0, 999)
    noise = torch.randn(latents.shape, generator=generator)
    a = alphas[times].view(-1, 1, 1, 1)
    snr = a / (1 - a)
    return a.sqrt() * latents + (1 - a).sqrt() * noise, times, noise, snr.clamp(max=GAMMA) / snr


def loosened(context: torch.Tensor, times: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Contexts ``[B, 77, 768]``, at low noise often those of another row."""
    other = context[torch.randperm(len(context), generator=generator)]
    swap = (times < SETTLED) & (torch.rand(len(times), generator=generator) < LOOSE)
    return torch.where(swap.view(-1, 1, 1), other, context)


def deadline_seconds(text: str | None) -> float | None:
    if text is None:
        return None
    now = datetime.datetime.now()
    hour, minute = (int(part) for part in text.split(":"))
    return (now.replace(hour=hour, minute=minute, second=0) - now).total_seconds()


@torch.no_grad()
def average_weights(parameters: list[torch.nn.Parameter], workers: int) -> None:
    """Mean of the weights of all worker processes (local SGD, Stich 2019), as one message."""
    flat = torch.cat([p.reshape(-1) for p in parameters])
    dist.all_reduce(flat)
    flat /= workers
    offset = 0
    for p in parameters:
        p.copy_(flat[offset : offset + p.numel()].view_as(p))
        offset += p.numel()


def train(rank: int, options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    workers = options.workers
    if workers > 1:
        dist.init_process_group("gloo", init_method=f"file://{options.meeting}", rank=rank, world_size=workers)
    torch.manual_seed(0)
    unet = miniature_unet().to(device)
    ema = copy.deepcopy(unet).requires_grad_(False)
    parameters = [*unet.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=options.lr, weight_decay=0.01, betas=(0.9, 0.99), foreach=True)
    state_file = options.work / "unet.pt"
    step = 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        unet.load_state_dict(state["unet"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    batches = Batches(options.work, seed=100 + step + 1_000_000 * rank)
    generator = torch.Generator().manual_seed(200 + step + 1_000_000 * rank)
    alphas = alphas_cumprod()
    first, budget, start = step, deadline_seconds(options.deadline), time.time()
    if rank == 0:
        size = sum(p.numel() for p in parameters) / 1e6
        log(options.work, "unet", f"start at step {step}, {size:.1f} M parameters, {workers} x batch {options.batch}")
    since, total = time.time(), 0.0

    def store() -> None:
        state = {"unet": unet.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
        save_atomically(state, state_file)

    def look() -> None:
        vae = TrainedVae(options.work / "vae.pt", options.device)
        texts = ["hazelnut"] * 8 + [P1] * 8 + [MAIN["hole"][1]] * 4 + [MAIN["crack"][0]] * 2 + [MAIN["print"][0]] * 2
        context = torch.stack([batches.contexts[batches.row[text]] for text in texts]).float().to(device)
        empty = batches.contexts[:1].float().to(device)
        latents = sample(ema, context, empty, torch.Generator().manual_seed(7), options.look_steps)
        sheet(vae.decode(latents), options.work / f"unet-{step:05d}.png", columns=8)

    while step < options.steps:
        # All workers must leave at the same step: the first one's clock decides.
        elapsed = torch.tensor(time.time() - start)
        if workers > 1 and step % SYNC == 0:
            dist.broadcast(elapsed, 0)
        if budget is not None and step % SYNC == 0 and elapsed > budget:
            break
        by_clock = 0.0 if budget is None else float(elapsed) / budget
        progress = max(step / options.steps, first / options.steps + (1 - first / options.steps) * by_clock)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(options.lr, step, progress)
        latents, context = batches.draw(options.batch)
        x, times, noise, weight = noised(latents, alphas, generator)
        context = loosened(context, times, generator)
        with torch.autocast(device.type, torch.bfloat16):
            guess = unet(x.to(device), times.to(device), context.to(device)).sample
        loss = (weight.to(device) * (guess.float() - noise.to(device)) ** 2).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        total += float(loss.detach())
        if workers > 1 and step % SYNC == 0:
            average_weights(parameters, workers)
        if rank:
            continue
        with torch.no_grad():
            keep = min(EMA, (1 + step) / (10 + step))
            torch._foreach_lerp_([*ema.parameters()], parameters, 1 - keep)
        if step % 50 == 0:
            rate = (time.time() - since) / 50
            log(options.work, "unet", f"step {step} loss {total / 50:.4f} {rate:.2f} s/step lr {group['lr']:.1e}")
            since, total = time.time(), 0.0
        if step % 250 == 0:
            store()
        if step % options.look_every == 0:
            look()
            since = time.time()
    if rank == 0:
        store()
        look()
        log(options.work, "unet", f"done at step {step}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--deadline", help="HH:MM, wall clock: stop then")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--batch", type=int, default=6, help="of each worker")
    parser.add_argument("--workers", type=int, default=2, help="processes whose weights are averaged now and then")
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--look-every", type=int, default=1000)
    parser.add_argument("--look-steps", type=int, default=16)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options.meeting = Path(folder) / "meeting"
        if options.workers > 1:
            # Worker processes of one thread each: on a busy machine far faster than threads that wait for each other.
            torch.multiprocessing.spawn(train, (options,), nprocs=options.workers)
        else:
            train(0, options)


if __name__ == "__main__":
    main()
