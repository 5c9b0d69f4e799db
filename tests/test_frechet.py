"Distances between sets of images: the network against PyTorch's, files that are safe to open, and every score against a plain loop."
import base64
import hashlib
import io
import os
import pickle
import re
import struct
import zipfile
import zlib
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import linalg
from nif_lit import frechet as f
from nif_lit.data import DataError, quantize, read_cifar10
from nif_lit.frechet import DIMS, Inception, InceptionFeatures, as_rgb, compare_features, frechet_distance, kid, neighbour_scores, read_checkpoint, score

HERE = os.environ.get('NIF_LIT_DATA')
real = pytest.mark.skipif(not (HERE and os.path.isfile(os.path.join(HERE, 'fid', f.PARTIAL))), reason='NIF_LIT_DATA names no folder with Inception weights')


# ---- the network
def convolutions(network): return {'.'.join(map(str, path)): m for path, m in nnx.iter_modules(network) if isinstance(m, f.Conv)}


def checkpoint(shapes):
    "A state dictionary of random numbers, NumPy's frozen RandomState, as the reference below was made with. shapes: name -> (C_out, C_in, kh, kw)."
    rng, out = np.random.RandomState(0), {}
    for name in sorted(shapes):
        C_out, C_in, kh, kw = shapes[name]
        out[f'{name}.conv.weight'] = rng.normal(0, (2 / (C_in * kh * kw)) ** 0.5, (C_out, C_in, kh, kw))
        for part, low, high in (('weight', 0.5, 1.5), ('bias', -0.3, 0.3), ('running_mean', -0.3, 0.3), ('running_var', 0.5, 2.0)):
            out[f'{name}.bn.{part}'] = rng.uniform(low, high, C_out)
    return out


# First three features, mean and deviation over the features, of one 40x52 image: pytorch-fid 0.3.0 on torch 2.13 in float64, these very weights.
PYTORCH = {64: [0.040517247, 1.38015863, 0.0174857742, 0.438796613, 0.449613525],
           192: [1.00917453, 0.00722595632, 0.492005091, 0.588457084, 0.680247635],
           768: [1.04321531, 0.185213021, 1.3312741, 0.588722615, 0.827648257],
           2048: [2.90213115, 0.0123766582, 0.0162324146, 0.636749812, 0.910024701]}


def test_the_whole_network_is_pytorch_fids():
    network = nnx.eval_shape(lambda: Inception(2048))
    found = convolutions(network)
    state = checkpoint({name: tuple(m.weight.shape[i] for i in (3, 2, 0, 1)) for name, m in found.items()})
    assert len(found) == 94 and sum(v.size for k, v in state.items() if not k.endswith(('mean', 'var'))) == 21_785_568
    weights = f.fold_batch_norm(state)
    f.fill(network, weights)
    rgb = np.random.RandomState(1).randint(0, 256, (1, 40, 52, 3)).astype(np.uint8)
    graphdef, values = nnx.split(network)
    ours = jax.jit(lambda values: nnx.merge(graphdef, values)(f.network_input(rgb)))(values)
    summary = lambda v: np.array([*v[:3], v.mean(), v.std()])
    assert tuple(ours) == DIMS
    for dims, reference in PYTORCH.items(): np.testing.assert_allclose(summary(np.asarray(ours[dims], np.float64)[0]), reference, rtol=1e-4, atol=1e-4)
    short = nnx.eval_shape(lambda: Inception(192))
    small = InceptionFeatures(f.fill(short, weights))(rgb, bits=8)                                # stops early, and is the same
    assert small.dtype == np.float32 and small.shape == (1, 192)
    np.testing.assert_allclose(small, ours[192], rtol=1e-5, atol=1e-5)
    del weights['Mixed_5b.branch1x1.bias']
    with pytest.raises(DataError, match='lack Mixed_5b.branch1x1.bias'): f.fill(nnx.eval_shape(lambda: Inception(768)), weights)
    with pytest.raises(DataError, match=r'Conv2d_1a_3x3.bias: expected shape \(32,\), got \(1,\)'): f.fill(short, weights | {'Conv2d_1a_3x3.bias': np.zeros(1)})


@pytest.mark.parametrize('stride, padding, h, w, kernel', [(1, 'VALID', 6, 7, (3, 3)), (2, 'VALID', 7, 8, (3, 3)), (2, 'VALID', 8, 7, (3, 3)), (1, 'SAME', 5, 6, (1, 7)), (1, 'SAME', 5, 4, (5, 5)), (1, 'SAME', 3, 4, (1, 1))])
def test_a_convolution_with_its_zeros_cut_off_is_the_plain_one(stride, padding, h, w, kernel):
    conv, x = f.Conv(3, 5, kernel, stride=stride, padding=padding, rng=np.random.default_rng(0)), np.random.default_rng(1).normal(size=(2, h, w, 3)).astype(np.float32)
    conv.bias[...] = jnp.arange(5.0) / 5 - 0.4
    plain = jax.lax.conv_general_dilated(x, conv.weight[...], (stride, stride), padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC')) + conv.bias[...]
    np.testing.assert_allclose(conv(x), jnp.maximum(plain, 0), atol=1e-5)
    assert (np.asarray(conv(x)) == 0).any() and (np.asarray(conv(x)) > 0).any()


def test_pools():
    x = np.random.default_rng(0).normal(size=(2, 7, 8, 3)).astype(np.float32)
    window = lambda init, op, stride, padding, y=x: jax.lax.reduce_window(y, init, op, (1, 3, 3, 1), (1, stride, stride, 1), padding)
    np.testing.assert_allclose(f.average_pool(x), window(0.0, jax.lax.add, 1, 'SAME') / window(0.0, jax.lax.add, 1, 'SAME', np.ones_like(x)), atol=1e-6)
    np.testing.assert_array_equal(f.max_pool(x - 9), window(-np.inf, jax.lax.max, 1, 'SAME', x - 9))
    np.testing.assert_array_equal(f.max_pool_halving(x), window(-np.inf, jax.lax.max, 2, 'VALID'))


def test_features_do_not_depend_on_the_batch():
    features = InceptionFeatures(Inception(64, rng=np.random.default_rng(0)), batch_size=2)
    x = np.random.default_rng(1).integers(0, 8, (5, 9, 12, 1)).astype(np.uint8)
    whole = features(x, bits=3)
    np.testing.assert_allclose(np.concatenate([features(x[4:], bits=3), features(x[:4], bits=3)]), whole[[4, 0, 1, 2, 3]], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(features(f.to_uint8(x, 3).repeat(3, -1), bits=8), whole)
    assert whole.shape == (5, 64) and features.source == 'random weights'
    for bad, options, message in ((x, dict(bits=2), '0 to 3'), (x[0], dict(bits=3), 'shape'), (x[:0], dict(bits=3), 'shape'), (x.astype(float), dict(bits=3), 'uint8'), (x, dict(bits=3, path='jpeg'), "'plain' or 'released'"), (x, dict(bits=0), 'bits')):
        with pytest.raises(ValueError, match=message): features(bad, **options)
    with pytest.raises(ValueError, match='one of 64, 192, 768, 1280, 2048'): Inception(100)


def test_the_released_path_is_matplotlibs():
    from matplotlib import colormaps
    from PIL import Image
    x = np.random.default_rng(0).integers(2, 7, (3, 16, 16, 1)).astype(np.uint8)
    colours = [colormaps['viridis']((image[..., 0] - float(image.min())) / (image.max() - float(image.min())), bytes=True)[..., :3] for image in f.to_uint8(x, 3)]
    def jpeg(image):
        file = io.BytesIO(); Image.fromarray(image).save(file, format='jpeg', dpi=(100, 100)); return np.asarray(Image.open(file))
    np.testing.assert_array_equal(as_rgb(x, 3, 'released'), [jpeg(c) for c in colours])
    colour = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(as_rgb(colour, 8, 'released'), [jpeg(c) for c in colour])
    assert np.abs(as_rgb(colour, 8, 'released', quality=100).astype(int) - colour).mean() < np.abs(as_rgb(colour, 8, 'released').astype(int) - colour).mean()


# ---- files
# Both written by torch 2.13: an OrderedDict with a _metadata attribute, of float32, int64, a transposed float16, every second of a longer one, and a Parameter.
LEGACY = ('c-n=NNpI6Y6vxL)5^87(d&^pOhs8L?*-o?)sw$bS=Hd&o9A}6PuAOI(gFuRuOG@E0aNx+t=ttqoM?m7hv)x81N`>Va&%Al_|NUq2nExsTf4*(}UVZoD)rvCapZ^lD9s!Z9Dj{SLM=Wxqz#h^#@uLtp'
          'Ot2PlB=8vvs7=G3?}WhbS`r4?#{sny{}W9>7=b8TB@8BB6f-Cpyd_}I4;hpV(GoL_DC|SU5YrTyE@A@eGNdHZ%eY5l+I#A|Oaf9ffs=EpqqtExR6bC@?=j$A7R9co*eUaaM6zSrP5q!}Ga4pQY!5XF'
          '1X;E!nF-8v`V_=sinI|#4tre$B`8@-nA6c)twy`9ceIYGt5DAUx`PxgmR~S9wq+365Debn435EqT(q*b^u^0e9%pdEghgvPciIh=Fx|Gh4s$)4*erJ3_p}E~9(wW)d_2P~nA$iwV?(R!x~eyIsCpHH'
          'L;NYk*J=gmG=noHoXt1UbAq>U?vUsvhNhzD4~e$4R;QuC1+Q4sGKywP+JO~ZiLe6~3&14?mrb~m0|pKr-_-)(mHts{YV9^$Lp2H2R<}?~n80;|pTLbm=_Z3)Cfv3b3MFToG8)63BTjCbA;I0Fi1oS#'
          'G7@<t)-wMHyJv6{xL*(-FnDN!vYU4veFoKpdO89vw_u~X({q>ukMnU|wlGSdF@k1(Q4TJ8%it1=!+;9y5p=w)pC(<rsBf~LW6piy=A9lt&%H2j6UBMwRH90m%s%5MSgqlUWsK$f8n-`E+5hs>+`TM!'
          'Px{Y%Ou_OK3t1<mx<12GiB6iNO*(%8<(UOS')
ZIP = ('c-pO1%WvF77@yruyjv&Di_&aENhwbUQpb<othWWyTF9a@66qqO6&K6vb=Ov%bv}DG5lE3Dp%l0QCk_a4K|)+Pz>WL?NC*jWsss`eQBU;5ffF-!;@B>mg_hBdAG7m&c;@@QS=UQr2vsWRzBYsAkQrEx'
          'yJfF*O>FX;w>(XqLT_c-Zqc%Q&$BJ;`u&i7J?Pqj-F?NiFbim@1qH5snvj{i<@dMvZQJcR7>XA52{UgDu<M1a5!ju9>vaum_d`E0wj>rx9M>)rU`S?~JsZYi2&;L%iQk9^Sr~5@$Q%Kfc8T1r%>k5k'
          '21DhBjyS!f7xjW(z;KF-pXf9DfkSOgV3=&d>2@{p*6H*8!G_T>vE|sIfdkXJWp`o9AugOF<=6avFA<)OghiNf%9M4M2rezf)N>dfX~CH`Sytqj-c5KkL-Q&bN@&hTG!o1^k?$&@p|)?sIpVf-8x~^9'
          '$1t34!Q&C-rWs&Zj47S?`(?O5@GOQWZV+^74=(D(J$N$4K84}w7Ch5F6=Tf}8`}XqJ7fov87w@P(Wn7OG>RCOs7FHoyk6LY7h;WN43}EKzaPD<yaz%H#K8_ok*GoVOd3ESNB`HjHVrSR@4#xb#ang|'
          'lHh@cUI-8OQ`v#0L*EBshhNvrm3!B}Vyz<CV$#=#hU`45CLzn;^n(o(8;9(gdL|dSaT6)~H-FrDmkQH9oP7Z`j@b|6(l9-@*Wa-FSX1SH6d2J~Yt+EnHryp&hKeT|m_=)efzI35_Gz+d>Xir4J!+nd'
          'v1d~cdoTTVjv*?{i5{lV%bBXMB53O6hcFPc?yix`Rq`W!m-NrCQb+S29(+U-v^v7ka@LWksocMIR6b;(dYeBV_*9@WLhr?_o}{S?dWi2APz|jj1vROMzyAEGHAx01M|e=O9%N0eq5pIJ5!xsHSJKfn'
          'au!^p-rR#Pe&@&lH^STbthbt`R?%?%eX6}r`7ba3^8M)bpGH>_{v^2@54r&|OO=28toP>V{98oQaRG=vEwlrdRDgF(dioh|S5x`_Xhaa|b+IXkN?n!&x!x2SN<&<&Hx*eFYvkIL6tONeB<k`);m!}o'
          '>tCQ|6QAh<Idh-${5hUSrwibG2KjXn4J)a6l5`PU$QG^=I-zprdD4YwHpBCAiYF<6d3d^NOl9C_$55_z<+14ski~wP$BKDuI&-tw>Ua(-<+16^%3?pwW92+Hoi$mk!sM{EJT@Ko(;4h1DeRE_PKV=S'
          '20T|rBNAm@XPD)qv?^UnkQ2H4cg6VrZTYB7GttvF8^6aV_Baz`CZhTA+`j?S|6}a')


def torch_file(text): return zlib.decompress(base64.b85decode(text))


@pytest.mark.parametrize('text', [LEGACY, ZIP], ids=['legacy', 'zip'])
def test_files_that_torch_wrote(text):
    found = read_checkpoint(torch_file(text))
    wanted = {'a.conv.weight': np.arange(6, dtype=np.float32).reshape(3, 2, 1, 1), 'a.bn.num_batches_tracked': np.int64(7), 'half': (np.arange(6) / 8).astype(np.float16).reshape(2, 3).T,
              'part': np.arange(3, 9, 2, dtype=np.float32), 'parameter': np.array([1.5, -2], np.float32)}
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def damaged():
    raw = {name: torch_file(text) for name, text in (('legacy', LEGACY), ('zip', ZIP))}
    yield 'truncated legacy', raw['legacy'][:-3]
    yield 'half a legacy', raw['legacy'][:200]
    yield 'truncated zip', raw['zip'][:-30]
    yield 'empty', b''
    yield 'text', b'not a checkpoint'
    yield 'a tensor beyond its storage', raw['legacy'].replace(b'K\x03K\x02K\x01K\x01', b'K\x09K\x02K\x01K\x01')
    yield 'another magic', raw['legacy'].replace(b'\x6c\xfc\x9c', b'\x6c\xfc\x9d')
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as z: z.writestr('a/data.pkl', b'\0' * 10_000)
    yield 'compressed', file.getvalue()
    yield 'no dictionary', pickle.dumps([1, 2], 2)
    encrypted = bytearray(raw['zip'])
    for at, flags in ((b'PK\x03\x04', 6), (b'PK\x01\x02', 8)):
        for place in (m.start() for m in re.finditer(re.escape(at), raw['zip'])): encrypted[place + flags] |= 1
    yield 'encrypted', bytes(encrypted)
    key = raw['legacy'].rindex(b'.' + struct.pack('<q', 6)) + 1                              # the length of the first storage, behind the last pickle
    yield 'a storage without end', raw['legacy'][:key] + b'\xff' * 8 + raw['legacy'][key + 8:]
    headers = b''.join(pickle.dumps(v, 2) for v in (0x1950a86a20f9469cfc6c, 1001, dict(protocol_version=1001, little_endian=True)))
    yield 'half a number', headers + b'\x80\x02G\x00\x00'


@pytest.mark.parametrize('name, raw', [pytest.param(*case, id=case[0]) for case in damaged()])
def test_damaged_files(name, raw):
    assert raw not in (torch_file(LEGACY), torch_file(ZIP))
    with pytest.raises(DataError): read_checkpoint(raw)


class Call:
    def __init__(self, function, *arguments): self.call = function, arguments
    def __reduce__(self): return self.call


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize('form', ['zip', 'legacy'])
def test_a_hostile_file_is_refused_and_not_run(tmp_path, form, protocol):
    marker = tmp_path/'was_run'
    payload = pickle.dumps({'a.conv.weight': Call(os.system, f'touch {marker}')}, protocol)
    if form == 'zip':
        file = io.BytesIO()
        with zipfile.ZipFile(file, 'w') as z: z.writestr('a/data.pkl', payload)
        raw = file.getvalue()
    else: raw = b''.join(pickle.dumps(v, 2) for v in (0x1950a86a20f9469cfc6c, 1001, dict(protocol_version=1001, little_endian=True))) + payload
    with pytest.raises(DataError, match='imports|instruction'): read_checkpoint(raw)
    assert not marker.exists()
    pickle.loads(payload)
    assert marker.exists()                                                                      # it was live


@pytest.mark.parametrize('program, message', [
    (b'\x80\x02ctorch\nFloatStorage\n)R.', 'calls torch FloatStorage'), (b'\x80\x02X\x09\x00\x00\x00os system)R.', "calls 'os system'"), (b'\x80\x02(ios\nsystem\n.', 'instruction INST'),
    (b'\x80\x02ctorch.storage\n_load_from_bytes\n.', 'imports torch.storage _load_from_bytes'), (b'\x80\x02cbuiltins\ngetattr\n.', 'imports builtins getattr'),
    (b'\x80\x02\x82\x01.', 'instruction EXT1'), (b'\x80\x02)\x81.', 'instruction NEWOBJ')])
def test_a_pickle_may_say_nothing_else(program, message):
    with pytest.raises(DataError, match=message): f.read_pickle(io.BytesIO(program))


@pytest.mark.parametrize('offset, size, stride, fits', [(0, (6,), (1,), True), (1, (2, 3), (2, 1), True), (5, (), (), True), (6, (0, 3), (3, 1), True), (1, (6,), (1,), False), (0, (2, 2), (4, 2), False),
                                                        (6, (), (), False), (-1, (2,), (1,), False), (5, (2,), (-1,), False), (0, (7,), (0,), False), (0, (2,), (1, 1), False)])
def test_a_tensor_stays_in_its_storage(offset, size, stride, fits):
    storage = np.arange(6, dtype=np.float32)
    tensor = f._Tensor('0', '<f4', 6, offset, size, stride)
    if fits: assert f._array(tensor, storage.tobytes()).shape == size
    else:
        with pytest.raises((DataError, ValueError)): f._array(tensor, storage.tobytes())


def test_weights_have_a_variable_of_their_own(tmp_path, monkeypatch):
    "NIF_LIT_FID without NIF_LIT_DATA, before it, and NIF_LIT_DATA as ever; the error names both."
    for place in ('own', 'data/fid'): (tmp_path/place).mkdir(parents=True)
    for name in ('NIF_LIT_FID', 'NIF_LIT_DATA'): monkeypatch.delenv(name, raising=False)
    own, shared, better = tmp_path/'own'/f.PARTIAL, tmp_path/'data'/'fid'/f.PARTIAL, tmp_path/'data'/'fid'/f.OFFICIAL
    with pytest.raises(DataError, match=f'put {f.OFFICIAL} or {f.PARTIAL} with its SHA256SUMS into a folder that NIF_LIT_FID names, or the folder fid of the one that NIF_LIT_DATA names'): f.find_weights(768)
    monkeypatch.setenv('NIF_LIT_FID', str(tmp_path/'own'))
    with pytest.raises(DataError, match='into .*own or its folder fid, or into a folder that NIF_LIT_FID.*NIF_LIT_DATA'): f.find_weights(768)
    for path in (own, shared): path.touch()
    assert f.find_weights(768) == own
    monkeypatch.setenv('NIF_LIT_DATA', str(tmp_path/'data'))
    assert f.find_weights(768) == own and f.find_weights(768, tmp_path/'data') == shared
    own.unlink(); assert f.find_weights(768) == shared
    own.touch(); better.touch(); assert f.find_weights(768) == f.find_weights(2048) == better
    monkeypatch.delenv('NIF_LIT_FID'); better.unlink(); assert f.find_weights(768) == shared


def test_weights_are_hashed_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv('NIF_LIT_DATA', str(tmp_path)); monkeypatch.delenv('NIF_LIT_FID', raising=False)
    with pytest.raises(DataError, match=f'put {f.OFFICIAL} into'): InceptionFeatures.load(2048)
    with pytest.raises(DataError, match=f'put {f.OFFICIAL} or {f.PARTIAL} with its SHA256SUMS into'): InceptionFeatures.load(768)
    network = Inception(64)
    state = {k: v.astype(np.float32) for k, v in checkpoint({name: tuple(m.weight.shape[i] for i in (3, 2, 0, 1)) for name, m in convolutions(network).items()}).items()}
    (tmp_path/'fid').mkdir(); path = tmp_path/'fid'/f.OFFICIAL; path.write_bytes(torch_file(LEGACY))
    assert f.find_weights(2048) == path
    monkeypatch.setattr(f, 'read_checkpoint', lambda raw: pytest.fail('read before its checksum was looked at'))
    with pytest.raises(DataError, match='expected sha256 6726825d0af5f729.*nothing of it was read'): InceptionFeatures.load(64)
    monkeypatch.setattr(f, 'read_checkpoint', lambda raw: state)
    folded = f.read_weights(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert folded['Conv2d_2b_3x3.weight'].shape == (3, 3, 32, 64)
    path.unlink(); partial = tmp_path/'fid'/f.PARTIAL
    np.savez(partial, **{k: v.astype(np.float16) if k.endswith('weight') else v for k, v in folded.items()})
    with pytest.raises(DataError, match='no checksum is known'): InceptionFeatures.load(64)
    (tmp_path/'SHA256SUMS').write_text(f'{hashlib.sha256(partial.read_bytes()).hexdigest()}  fid/{f.PARTIAL}\n')
    features = InceptionFeatures.load(64)
    x = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)
    np.testing.assert_allclose(features(x, bits=8), InceptionFeatures(f.fill(Inception(64), folded))(x, bits=8), rtol=1e-2, atol=1e-2)
    assert features.source == 'partial, float16'
    partial.write_bytes(partial.read_bytes()[:-1])
    with pytest.raises(DataError, match='truncated or altered'): InceptionFeatures.load(64)


@real
def test_reference_values():
    "Of the data folder's README: CIFAR-10 test images 0 and 1, resized by Pillow; means over the features, printed to the last digit here."
    from PIL import Image
    x = np.stack([np.asarray(Image.fromarray(image).resize((299, 299), Image.BILINEAR)) for image in read_cifar10(HERE)[2][:2]])
    network = f.fill(nnx.eval_shape(lambda: Inception(1280)), f.read_weights(os.path.join(HERE, 'fid', f.PARTIAL)))
    graphdef, values = nnx.split(network)
    ours = jax.jit(lambda values: nnx.merge(graphdef, values)(f.network_input(x)))(values)
    for dims, means, digits in ((64, (1.4760, 1.4258), 5e-5), (192, (1.8776, 1.7593), 5e-5), (768, (0.04711, 0.04835), 5e-6), (1280, (0.15795, 0.15551), 5e-6)):
        np.testing.assert_allclose(np.asarray(ours[dims]).mean(1), means, rtol=0, atol=1.2 * digits)
    np.testing.assert_allclose(ours[768][0, :4], [0.0977, 0.0254, 0.0615, 0.1181], rtol=0, atol=6e-5)


# ---- scores
def sets(seed, n, m, d):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 0.3, rng.normal(size=(m, d)) @ rng.normal(size=(d, d))


@pytest.mark.parametrize('seed, n, m, d', [(0, 30, 41, 5), (1, 12, 9, 1), (2, 200, 150, 17)])
def test_frechet_distance(seed, n, m, d):
    a, b = sets(seed, n, m, d)
    C = lambda x: np.cov(x.T).reshape(d, d)
    reference = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(C(a) + C(b)) - 2 * np.trace(linalg.sqrtm(C(a) @ C(b))).real
    found = frechet_distance(a.astype(np.float64), b)
    assert found['name'] == f'FID-{d}' and (found['n'], found['n_reference']) == (n, m)
    np.testing.assert_allclose(found['value'], reference, rtol=1e-9)
    np.testing.assert_allclose(frechet_distance(b, a)['value'], found['value'], rtol=1e-9)
    np.testing.assert_allclose(frechet_distance(3 * a - 1, 3 * b - 1)['value'], 9 * found['value'], rtol=1e-9)
    assert abs(frechet_distance(a, a[::-1])['value']) < 1e-6 * np.trace(C(a))


def test_only_2048_features_make_a_fid():
    x = np.random.default_rng(0).normal(size=(8, 192)).astype(np.float32)
    assert f._name('FID', 2048) == 'FID' and frechet_distance(x[:4], x[4:])['name'] == 'FID-192' and kid(x[:4], x[4:])['name'] == 'KID-192'


def test_kid_and_neighbours_do_not_depend_on_chunks_or_order():
    a, b = sets(3, 23, 19, 4)
    whole, parts = f._kernel_sums(a, b), f._kernel_sums(a, b, chunk=5)
    np.testing.assert_allclose(np.concatenate(whole), np.concatenate(parts), rtol=1e-12)
    np.testing.assert_allclose(f._kernel_sums(a, a, within=True, chunk=5)[0], ((a @ a.T / 4 + 1) ** 3 - np.diag(((a * a).sum(1) / 4 + 1) ** 3)).sum(1), rtol=1e-10)
    k = lambda u, v: (u @ v / 4 + 1) ** 3
    mean = lambda p, q, skip: np.mean([k(u, v) for i, u in enumerate(p) for j, v in enumerate(q) if not (skip and i == j)])
    value = lambda p, q: mean(p, p, True) + mean(q, q, True) - 2 * mean(p, q, False)
    left = [[value(np.delete(a, i, 0), b) for i in range(23)], [value(a, np.delete(b, j, 0)) for j in range(19)]]
    found = kid(a, b)
    np.testing.assert_allclose([found['value'], found['se']], [value(a, b), np.sqrt(sum((len(v) - 1) * np.var(v) for v in left))], rtol=1e-9)
    assert neighbour_scores(a, b, 3, chunk=4) == neighbour_scores(a, b, 3) == neighbour_scores(a[::-1], b[::-1], 3)


def test_neighbour_scores_by_hand():
    reference, samples = np.array([[0.0], [1], [3], [7]]), np.array([[0.4], [0.6], [4.9], [20.0], [40.0]])
    # radii, k = 1: reference 1 1 2 4; samples 0.2 0.2 4.3 15.1 20
    found = neighbour_scores(samples, reference, k=1)
    assert [found[key] for key in ('precision', 'recall', 'density', 'coverage')] == [3 / 5, 1.0 * 3 / 4, (2 + 2 + 2) / 5, 4 / 4]
    assert neighbour_scores(samples, reference, k=2)['density'] == (3 + 3 + 2) / 5 / 2                     # radii 3 2 3 6
    assert neighbour_scores(reference, reference, 2)['recall'] == neighbour_scores(reference, reference, 2)['coverage'] == 1.0


@pytest.mark.parametrize('call, message', [
    (lambda a: frechet_distance(a, a[:, :2]), r'\(n, d\) and \(m, d\)'), (lambda a: frechet_distance(a[:1], a), 'at least 2'), (lambda a: kid(a[:2], a), 'at least 3'),
    (lambda a: kid(a * np.nan, a), 'finite'), (lambda a: neighbour_scores(a, a[:5]), 'at least 6'), (lambda a: neighbour_scores(a, a, 0), 'k must be'), (lambda a: frechet_distance(a[0], a), 'expected features')])
def test_scores_refuse(call, message):
    with pytest.raises(ValueError, match=message): call(np.random.default_rng(0).normal(size=(9, 3)))


@pytest.mark.parametrize('call, what, size', [(frechet_distance, 'the Fréchet distance', 1e200), (frechet_distance, 'the Fréchet distance', 1e308), (kid, 'KID', 1e30), (kid, 'KID', 1e110),
                                              (kid, 'KID', 1e300), (neighbour_scores, 'a squared distance', 1e160), (neighbour_scores, 'a squared distance', 1e308)])
def test_features_too_large_are_named(call, what, size):
    "Finite, and yet no finite number comes of them: no nan, and no warning of numpy's."
    a = np.random.default_rng(0).uniform(0.5, 1, size=(9, 3)); a[0, 0] = 1
    for pair in ((a * size, a * size), (a * size, a), (a, a * size)):
        with pytest.raises(ValueError, match=f'{what} of numbers as large as .*e\\+.* is beyond float64'): call(*pair)
    assert all(np.isfinite(v) for v in call(1e20 * a, a).values() if not isinstance(v, str))


@pytest.mark.parametrize('shift', [1e-2, 1e-3, 1e-4])
def test_a_shift_is_exact_where_the_covariance_is_singular(shift):
    "A root of an eigenvalue of 0 is the root of its rounding, a hundred million times as large: it once took 15 % of a shift of 1e-3, and all of one of 1e-4."
    a = np.random.default_rng(1).normal(size=(9, 40))
    assert frechet_distance(a, a + shift)['value'] == pytest.approx(40 * shift ** 2, rel=1e-6)


@pytest.mark.parametrize('n, m', [(9, 13), (9, 80), (80, 9)])
def test_the_distance_of_few_rows_is_that_of_their_factors(n, m):
    "tr (C1 C2)^(1/2) is the nuclear norm of the product of any two factors of the covariances: here of the centred rows, as they are."
    rng = np.random.default_rng(1); a, b = rng.normal(size=(n, 40)), rng.normal(1, 2, size=(m, 40))
    A, B = ((x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b))
    exact = (A ** 2).sum() + (B ** 2).sum() - 2 * np.linalg.norm(A @ B.T, 'nuc') + ((a.mean(0) - b.mean(0)) ** 2).sum()
    assert frechet_distance(a, b)['value'] == pytest.approx(exact, rel=1e-12) and abs(f.gaussian_frechet(a.mean(0), np.cov(a.T), b.mean(0), np.cov(b.T)) / exact - 1) < 1e-9


def test_two_gaussians_on_one_line():
    u = np.array([0.6, 0.8])
    assert f.gaussian_frechet(np.zeros(2), 9 * np.outer(u, u), np.zeros(2), 4 * np.outer(u, u)) == pytest.approx(1, abs=1e-13)


def test_the_shared_resize_matrix_cannot_be_written():
    with pytest.raises(ValueError, match='read-only'): f.resize_matrix(8, 299)[:] = 0


def test_score_has_two_columns_and_counts():
    features = InceptionFeatures(Inception(64, rng=np.random.default_rng(0)), batch_size=8)
    x = np.random.default_rng(1).integers(0, 256, (16, 8, 8, 3), np.uint8)
    found = score(quantize(x[:9], 3), quantize(x[8:], 3), bits=3, originals=x[8:], features=features)
    assert {k: v for k, v in found.items() if k not in ('reference', 'originals')} == dict(dims=64, weights='random weights', path='plain', reference_path='plain', bits=3)
    assert found['originals'] == compare_features(features(quantize(x[:9], 3), bits=3), features(x[8:], bits=8)) != found['reference']
    assert [(found[c][name]['n'], found[c][name]['n_reference']) for c in ('reference', 'originals') for name in ('frechet', 'kid', 'neighbours')] == [(9, 8)] * 6
    assert 'originals' not in score(quantize(x[:9], 3), quantize(x[8:], 3), bits=3, features=features, path='released')


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_kid_of_a_set_and_itself_is_that_of_a_copy(dtype):
    "One array passed twice is two sets of equal numbers: its cross term keeps the diagonal."
    a = np.random.default_rng(0).normal(size=(50, 8)).astype(dtype)
    assert kid(a, a) == kid(a, a.copy()) and kid(a, a)['value'] < 0


@pytest.mark.parametrize('second, message', [((np.zeros(2), -np.eye(2)), 'below 0'), ((np.zeros(2), np.array([[1.0, 5.0], [5.0, 1.0]])), 'eigenvalue of -4, below 0'), ((np.zeros(2), np.array([[1.0, 5.0], [0.0, 1.0]])), 'not symmetric'), ((np.zeros(2), np.eye(3)), r'\(2,\) and \(3, 3\)'),
                                             ((np.zeros(3), np.eye(3)), 'one dimension, got 2 and 3'), ((np.full(2, np.nan), np.eye(2)), 'finite')])
def test_the_distance_of_two_gaussians_refuses_what_is_none(second, message):
    first = np.zeros(2), np.eye(2)
    with pytest.raises(ValueError, match=message): f.gaussian_frechet(*first, *second)
    if second[0].shape == (2,):
        with pytest.raises(ValueError, match=message): f.gaussian_frechet(*second, *first)


def test_a_set_is_at_no_distance_from_itself():
    few = np.random.default_rng(1).normal(size=(6, 40))                         # covariances of rank 5: their zero eigenvalues come out on either side of 0
    assert 0 <= frechet_distance(few, few)['value'] < 1e-9 and frechet_distance(few, few + 1)['value'] == pytest.approx(40)
    a = np.random.default_rng(0).normal(size=(50, 8))
    assert 0 <= frechet_distance(a, a)['value'] < 1e-12
    for bad, message in ((np.zeros((5, 0)), 'd at least 1'), (a + 1j, 'complex'), (np.full((5, 4), '1.5'), 'features must be real, got <U3'), (np.zeros((5, 4), 'datetime64[s]'), 'features must be real, got datetime64'), ([[1.0, 2.0], [3.0]], 'rows differ')):
        with pytest.raises(ValueError, match=message): frechet_distance(bad, bad)


@pytest.mark.parametrize('call, match', [
    (lambda: InceptionFeatures(Inception(64)), 'holds zeros'),
    (lambda: InceptionFeatures(Inception(64), batch_size=-1), 'batch_size must be a positive whole number, got -1'), (lambda: InceptionFeatures(Inception(64), batch_size=0), 'got 0'), (lambda: InceptionFeatures(3), 'takes an Inception, got int'), (lambda: InceptionFeatures(Inception(64, rng=np.random.default_rng(0)))(3, bits=3), 'expected images'),
    (lambda: f.check_dims(64.0), 'dims must be one of .* got 64.0'), (lambda: f.check_dims('64'), "got '64'"), (lambda: f.resize_matrix(0), 'n must be'), (lambda: f.resize_matrix(4, 0), 'size must be'), (lambda: f.network_input(np.zeros((4, 4))), r'\(n, H, W, 3\), got \(4, 4\)'),
    (lambda: neighbour_scores(np.eye(4), np.eye(4), True), 'k must be a positive whole number, got True'), (lambda: neighbour_scores(np.eye(4), np.eye(4), 1, chunk=0), 'chunk must be'), (lambda: as_rgb(np.zeros((1, 4, 4, 3), np.uint8), 3, 'released', quality=101), 'quality must be .* got 101')])
def test_a_wrong_argument_is_a_value_error(call, match):
    with pytest.raises(ValueError, match=match): call()


def test_what_is_not_real_or_not_bytes_is_refused():
    with pytest.raises(ValueError, match='first distribution must be real'): f.gaussian_frechet(np.zeros(2), np.eye(2) * (1 + 5j), np.zeros(2), np.eye(2))
    with pytest.raises(ValueError, match='expected bytes, 0 to 255, got float32'): f.network_input(np.zeros((1, 4, 4, 3), np.float32))
    with pytest.raises(ValueError, match='expected bytes, 0 to 255, got -1 to 300'): f.network_input(np.array([-1, 300, 0] * 16).reshape(1, 4, 4, 3))
