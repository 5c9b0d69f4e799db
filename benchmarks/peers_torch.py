"""FrEIA, normflows and nflows, each building the same Glow out of its own parts. Where a part differs from ours, its class says so."""
import resource
import sys
import time
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from . import configs

RATE = 1e-4


class Net(nn.Module):
    "The coupling net of all: 3×3, ReLU, 1×1, ReLU, 3×3, the last zero."

    def __init__(self, C_in, C_out, channels):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(C_in, channels, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 1), nn.ReLU(inplace=True), nn.Conv2d(channels, C_out, 3, padding=1))
        for v in self.layers[-1].parameters(): nn.init.zeros_(v)

    def forward(self, x, context=None): return self.layers(x)


def logit(levels):
    "Dequantization and logit of (batch, C, H, W) levels, and the log volume per image."
    x = levels.float()
    p = configs.LAM + (1 - 2 * configs.LAM) / 2 ** configs.BITS * (x + torch.rand_like(x))
    log_p, log_q = p.log(), torch.log1p(-p)
    return log_p - log_q, (np.log((1 - 2 * configs.LAM) / 2 ** configs.BITS) - log_p - log_q).flatten(1).sum(1)


def levels_from(z):
    "The inverse of `logit`, floored and clipped to levels (uint8)."
    return (2 ** configs.BITS * (torch.sigmoid(z) - configs.LAM) / (1 - 2 * configs.LAM)).floor().clamp(0, 2 ** configs.BITS - 1).to(torch.uint8)


def unit_normal(z): return -(z ** 2).flatten(1).sum(1) / 2 - z[0].numel() / 2 * np.log(2 * np.pi)


class FrEIA(nn.Module):
    """`AllInOneBlock` in a `SequenceINN` per level, split by hand. Its permutation of channels is fixed (hard, as by default): no learned 1×1 convolution, so
    fewer parameters; its actnorm is a global affine map without initialisation on data; the coupling is exp(tanh(0.1 a))."""

    def __init__(self, net):
        super().__init__()
        import FrEIA.framework as framework
        import FrEIA.modules as modules
        self.levels = nn.ModuleList()
        for H, W, C in configs.levels_of(net):
            level = framework.SequenceINN(C // 4, 2 * H, 2 * W)
            level.append(modules.IRevNetDownsampling)
            for _ in range(net['steps']):
                level.append(modules.AllInOneBlock, subnet_constructor=lambda a, b: Net(a, b, net['channels']), affine_clamping=1.0, global_affine_type='EXP')
            self.levels.append(level)

    def log_prob(self, levels):
        x, total = logit(levels)
        for k, level in enumerate(self.levels):
            x, volume = level(x)
            total = total + volume
            if k < len(self.levels) - 1: x, out = x.chunk(2, 1); total = total + unit_normal(out)
        return total + unit_normal(x)

    def sample(self, n):
        z = torch.randn(n, *self.levels[-1].shapes[-1])
        for k, level in reversed(list(enumerate(self.levels))):
            if k < len(self.levels) - 1: z = torch.cat([z, torch.randn_like(z)], 1)
            z, _ = level(z, rev=True, jac=False)
        return levels_from(z)


class normflows(nn.Module):
    "`MultiscaleFlow` of `GlowBlock`s, LU 1×1 convolutions, its default sigmoid scale, its own `Logit`, a fixed unit Gaussian per level."
    masked = True

    def __init__(self, net):
        super().__init__()
        import normflows as nf
        shapes, q0, flows, merges = list(configs.levels_of(net)), [], [], []
        for k, (H, W, C) in enumerate(reversed(shapes)):                       # from the latent end
            flows.append([nf.flows.GlowBlock(C, net['channels'], use_lu=True) for _ in range(net['steps'])] + [nf.flows.Squeeze()])
            if k: merges.append(nf.flows.Merge())
            q0.append(nf.distributions.DiagGaussian((C if k == 0 else C // 2, H, W), trainable=False))
        self.flow = nf.MultiscaleFlow(q0, flows, merges, nf.transforms.Logit(configs.LAM), class_cond=False)

    def log_prob(self, levels):
        x = levels.float()
        x = (x + torch.rand_like(x)) / 2 ** configs.BITS
        return self.flow.log_prob(x, None) - x[0].numel() * configs.BITS * np.log(2)

    def sample(self, n):
        x, _ = self.flow.sample(n)
        return (2 ** configs.BITS * x).floor().clamp(0, 2 ** configs.BITS - 1).to(torch.uint8)


class nflows(nn.Module):
    """`MultiscaleCompositeTransform` of `ActNorm`, `OneByOneConvolution`, `AffineCouplingTransform` (its sigmoid scale). Its 1×1 convolution adds a bias.
    Samples with its cache of inverses on, as it recommends for evaluation."""

    def __init__(self, net):
        super().__init__()
        from nflows import transforms
        shapes = list(configs.levels_of(net))
        body = transforms.MultiscaleCompositeTransform(len(shapes))
        for H, W, C in shapes:
            parts = [transforms.SqueezeTransform()]
            for _ in range(net['steps']):
                mask = torch.cat([torch.zeros(C // 2), torch.ones(C - C // 2)])
                parts += [transforms.ActNorm(C), transforms.OneByOneConvolution(C), transforms.AffineCouplingTransform(mask, lambda a, b: Net(a, b, net['channels']))]
            body.add_transform(transforms.CompositeTransform(parts), (C, H, W))
        self.body, self.N = body, int(np.prod(net['shape']))

    def log_prob(self, levels):
        x, volume = logit(levels)
        z, more = self.body(x)
        return unit_normal(z) + volume + more

    def sample(self, n): return levels_from(self.body.inverse(torch.randn(n, self.N))[0])


BODIES = dict(FrEIA=FrEIA, normflows=normflows, nflows=nflows)


class Peer:
    """One library's Glow, trained (config: net, batch) or sampled (task='sample'). It keeps the faster memory layout of two, tried on a few steps.

    Adam is PyTorch's fused one; torch.compile is off unless config['compile'] says otherwise. config['autocast']: torch.autocast to bfloat16 around the density.
    """

    def __init__(self, config):
        torch.set_num_threads(config['threads']); torch.manual_seed(0); np.random.seed(0)
        self.net, self.batch, self.done = config['net'], config['batch'], 0
        self.autocast = lambda: torch.autocast('cpu', torch.bfloat16, enabled=bool(config.get('autocast')))
        images = torch.from_numpy(configs.images(self.net)).permute(0, 3, 1, 2).contiguous()
        self.rows = torch.from_numpy(configs.rows_of(self.batch)).long()
        self.model = BODIES[config['library']](self.net)
        self.trainable = [v for v in self.model.parameters() if v.requires_grad]
        stored = sum(v.numel() for v in self.trainable)
        self.adam = torch.optim.Adam(self.trainable, lr=RATE, fused=True)
        self.sampling = config.get('task') == 'sample'
        self.turn = self.draw if self.sampling else self.step
        if config.get('compile'): self.model.log_prob = torch.compile(self.model.log_prob)
        began = time.perf_counter()
        with torch.no_grad(): self.model.log_prob(images[self.rows[0]])         # sets actnorm from data
        if self.sampling:
            self.model.eval()
            for part in self.model.modules():
                if hasattr(part, 'use_cache'): part.use_cache(True)
        tried = {}
        for name in ('contiguous_format', 'channels_last'):
            layout = getattr(torch, name)
            self.model.to(memory_format=layout)
            self.images = images.contiguous(memory_format=layout)
            self.run(1)
            tried[name] = min(self.run(1) for _ in range(3))
            if name == 'contiguous_format': first = time.perf_counter() - began
        best = min(tried, key=tried.get)
        self.model.to(memory_format=getattr(torch, best)); self.images = images.contiguous(memory_format=getattr(torch, best))
        self.run(1)
        masked = configs.masked_parameters(self.net) if getattr(self.model, 'masked', False) else 0
        self.info = dict(parameters=stored, free_parameters=stored - masked, layout=best, tried_s=tried, first_step_s=first, loss=None if self.sampling else float(self.loss.detach()))

    def step(self):
        with self.autocast(): loss = -self.model.log_prob(self.images[self.rows[self.done % len(self.rows)]]).float().mean() / np.prod(self.net['shape'])
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        self.adam.step()
        self.done += 1
        self.loss = loss

    def draw(self):
        with torch.no_grad(): self.drawn = self.model.sample(self.batch).numpy()

    def run(self, k):
        "Seconds of k steps, or of k batches of samples."
        began = time.perf_counter()
        for _ in range(k): self.turn()
        if self.sampling: assert self.drawn.shape == (self.batch, self.net['shape'][2], *self.net['shape'][:2]), self.drawn.shape
        elif not torch.isfinite(self.loss): raise ValueError('the loss is not a number')
        return time.perf_counter() - began

    def matmul(self, n=2048, repeats=5):
        "The best of `repeats` n×n float32 products, in GFLOP/s."
        a, best = torch.randn(n, n), float('inf')
        a @ a
        for _ in range(repeats):
            began = time.perf_counter(); a @ a; best = min(best, time.perf_counter() - began)
        return 2 * n ** 3 / best / 1e9

    def memory(self): return dict(peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024) / 1e6)


CONTENDERS = {name: lambda config, name=name: Peer(config | dict(library=name)) for name in BODIES}
CONTENDERS |= {f'{name}, autocast': lambda config, name=name: Peer(config | dict(library=name, autocast=True)) for name in BODIES}
