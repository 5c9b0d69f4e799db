"""Noisy injective flows: normalizing flows across dimensions, in JAX. Written by hand; every other module is exported from nbs/."""
__version__ = "0.0.1"

_HOME = {name: module for module, names in {
    'geometry': 'half_log_det half_log_det_estimate manifold_log_prob',
    'noise': 'marginal_quadrature marginal_importance',
    'layer': 'Layer Chain check_contract log_mean_exp inverse_mode log_volume_quadrature log_volume_laplace',
    'bounds': 'elbo elbo_terms importance_bound gaussian_gap',
    'gaussian': 'GaussianInjection',
    'coupling': 'StochasticCoupling',
    'upsampling': 'NearestNeighbourUpsampling',
    'heads': 'StandardNormal GaussianNIF NoisyInjective',
    'bijections': 'UniformDequantization Logit ActNorm InvertibleConv1x1 AffineCoupling Squeeze Flatten Reverse Standardise '
                  'Split Repeat ConvNet MLP Fixed',
    'glow': 'flow_step glow_body vector_body',
    'models': 'Flow NF NIF DeepNIF build_model draw released_code_sample',
    'data': 'load quantize to_uint8 DataError',
    'training': 'fit save_model load_model Diverged Interrupted',
    'likelihood': 'bits_per_dim_of log_likelihood_of paired_difference',
    'frechet': 'InceptionFeatures frechet_distance kid neighbour_scores score',
    'probes': 'latents_of',
}.items() for name in names.split()}
__all__ = sorted(_HOME)


def __getattr__(name):
    "Names and modules load when first used, so that `import nif_lit` costs nothing (PEP 562)."
    from importlib import import_module
    from importlib.util import find_spec
    if name in _HOME: return getattr(import_module(f'nif_lit.{_HOME[name]}'), name)
    if not name.startswith('_') and find_spec(f'nif_lit.{name}'): return import_module(f'nif_lit.{name}')
    raise AttributeError(f"module 'nif_lit' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__(): return __all__ + ['__version__']


def _console():
    "The command `nif_lit`. Ctrl-C while its parts load ends it at once, in one line and with 130: raised into their C code it would be lost, or come out as another error."
    import os, signal, sys
    def stop(number, frame):
        if hasattr(sys.modules.get('nif_lit.training'), 'fit'): raise KeyboardInterrupt          # all is loaded
        os.write(2, b'\nnif_lit: stopped; the same command goes on\n'); os._exit(130)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler: signal.signal(signal.SIGINT, stop)
    from nif_lit.cli import console
    console()
