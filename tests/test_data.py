"Data: verified before use, split without overlap, read alike from every layout."
import gzip
import hashlib
import shutil
import http.server
import os
import struct
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
import numpy as np
import pytest
from nif_lit import data as d
from nif_lit import load, quantize, to_uint8

HERE = os.environ.get('NIF_LIT_DATA')
real = pytest.mark.skipif(not HERE, reason='NIF_LIT_DATA names no folder with the real archives')


def idx(array): return gzip.compress(struct.pack('>HBB', 0, 8, array.ndim) + struct.pack(f'>{array.ndim}I', *array.shape) + array.tobytes())


def fashion_folder(path, n=20):
    rng = np.random.default_rng(0)
    arrays = {'train-images-idx3-ubyte': rng.integers(0, 256, (n, 28, 28), np.uint8), 'train-labels-idx1-ubyte': np.arange(n, dtype=np.uint8) % 10,
              't10k-images-idx3-ubyte': rng.integers(0, 256, (n // 2, 28, 28), np.uint8), 't10k-labels-idx1-ubyte': np.arange(n // 2, dtype=np.uint8) % 10}
    path.mkdir(parents=True)
    for name, array in arrays.items(): (path/f'{name}.gz').write_bytes(idx(array))
    return arrays, {f'{name}.gz': hashlib.md5((path/f'{name}.gz').read_bytes()).hexdigest() for name in arrays}


def test_quantize():
    x = np.arange(256, dtype=np.uint8)
    for bits in range(1, 9):
        levels = quantize(x, bits)
        assert (levels == x // 2 ** (8 - bits)).all() and levels.max() == 2 ** bits - 1
        back = to_uint8(levels, bits)
        assert back[0] == 0 and back[-1] == 255 and (quantize(back, bits) == levels).all()
    for bad in (0, 9, 3.0, True, '3'):
        with pytest.raises(ValueError, match='bits'): quantize(x, bad)
    with pytest.raises(ValueError, match='uint8'): quantize(x.astype(int), 3)
    with pytest.raises(ValueError, match=r'np.round\(255'): quantize(x / 255, 3)
    with pytest.raises(ValueError, match='0 to 7'): to_uint8(np.array([8]), 3)
    for bad in ([0.5, 2.7], [np.nan, 1.0], [np.inf]):
        with pytest.raises(ValueError, match='whole numbers 0 to 7'): to_uint8(np.array(bad), 3)
    for bad in (np.array(['1']), np.array([True]), np.array([1j])):
        with pytest.raises(ValueError, match='dtype'): to_uint8(bad, 3)
    assert (to_uint8(np.array([0.0, 7.0]), 3) == [0, 255]).all() and to_uint8(np.zeros((0, 4, 4, 1)), 3).shape == quantize(np.zeros((0, 4, 4, 1), np.uint8), 3).shape == (0, 4, 4, 1)


@pytest.mark.parametrize('bits', range(1, 8))
def test_images_that_look_quantized_already_are_told(bits):
    top = 2 ** bits - 1
    with pytest.warns(UserWarning, match=f'largest value is {top}: .*at {bits} bits already'): quantize(np.array([0, top], np.uint8), bits)
    for fine in (np.zeros(3, np.uint8), np.array([top + 1], np.uint8)): quantize(fine, bits)          # a black image is no sign
    quantize(np.array([0, 7], np.uint8), 8)


def test_digits():
    from sklearn.datasets import load_digits
    data, eight = load('digits'), load('digits', bits=8)
    assert data.shape == (8, 8, 1) and data.train.dtype == np.uint8 and (len(data.train), len(data.valid), len(data.test)) == (1294, 143, 360)
    rows = np.concatenate([eight.train, eight.valid, eight.test])[..., 0]
    want = np.floor(255 * load_digits().images / 16).astype(np.uint8)
    assert sorted(r.tobytes() for r in rows) == sorted(r.tobytes() for r in want)                # each image once
    assert set(np.unique(rows)) == {255 * v // 16 for v in range(17)} and (quantize(eight.train, 3) == data.train).all()
    assert (load('digits').valid == data.valid).all() and (load('digits').test_labels == data.test_labels).all()
    labels = {r.tobytes(): y for r, y in zip(want, load_digits().target)}
    assert all(labels[x[..., 0].tobytes()] == y for x, y in zip(eight.test, eight.test_labels))
    pooled = load('digits', split='pooled')
    assert (len(pooled.train), len(pooled.valid), len(pooled.test)) == (1078, 359, 360)


@pytest.mark.parametrize('arguments, error, word', [((), TypeError, 'name'), (('fashon_mnist',), ValueError, "mean 'fashion_mnist'"), (('xyz',), ValueError, "'xyz'. Known: digits"), (('CIFAR10',), ValueError, "mean 'cifar10'"), (('Fashion-MNIST',), ValueError, "mean 'fashion_mnist'")])
def test_unknown_names(arguments, error, word):
    with pytest.raises(error, match=word): load(*arguments)


@pytest.mark.parametrize('name, word', [('cifar10', 'cifar-10-binary.tar.gz'), ('celeba', 'img_align_celeba'), ('fashion_mnist', 'train-images-idx3-ubyte')])
def test_an_empty_folder_says_what_belongs_there(name, word, tmp_path):
    with pytest.raises(d.DataError, match=word): load(name, folder=tmp_path)


def test_a_folder_of_weights_alone_is_told_its_variable(tmp_path, monkeypatch):
    "NIF_LIT_DATA with nothing but FID weights: the error says how to keep them and have tensorflow-datasets fetch the images."
    (tmp_path/'fid').mkdir(); monkeypatch.setenv('NIF_LIT_DATA', str(tmp_path))
    with pytest.raises(d.DataError, match='unset it.*FID weights, name it in NIF_LIT_FID'): load('cifar10')
    monkeypatch.setenv('NIF_LIT_DATA', str(tmp_path/'none'))
    with pytest.raises(FileNotFoundError, match='unset NIF_LIT_DATA; .* NIF_LIT_FID'): load('cifar10')


def test_bad_options(tmp_path):
    for change, error in ((dict(bits=9), ValueError), (dict(bits=2.5), ValueError), (dict(split='mine'), ValueError)):
        with pytest.raises(error): load('digits', **change)
    with pytest.raises(FileNotFoundError, match='does not exist.*tensorflow-datasets'): load('cifar10', folder=tmp_path/'nowhere')
    with pytest.raises(d.DataError, match='the data folder .* holds no Fashion-MNIST: looked there and in its fashion_mnist and FashionMNIST/raw .* unset it'): load('fashion_mnist', folder=tmp_path)
    for name in ('cifar10', 'celeba'):
        with pytest.raises(d.DataError, match=f'the data folder {tmp_path} holds no C.* in its {name} and .* put them there'): load(name, folder=tmp_path)
    (tmp_path/'file').write_text('')
    with pytest.raises(FileNotFoundError, match='file is a file; give the folder'): load('cifar10', folder=tmp_path/'file')
    (tmp_path/'t10k-images-idx3-ubyte.gz').write_bytes(b'')
    with pytest.raises(d.DataError, match=f'train-images-idx3-ubyte.gz is missing from {tmp_path}'): load('fashion_mnist', folder=tmp_path)


def test_idx_files_and_damage(tmp_path):
    arrays, md5 = fashion_folder(tmp_path/'fashion_mnist')
    x, y, x_test, y_test = d.read_fashion_mnist(tmp_path, md5)
    assert (x[..., 0] == arrays['train-images-idx3-ubyte']).all() and (y_test == arrays['t10k-labels-idx1-ubyte']).all()
    path = tmp_path/'fashion_mnist'/'t10k-images-idx3-ubyte.gz'
    whole = path.read_bytes()
    for damaged in (whole[:-9], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:], b''):
        path.write_bytes(damaged)
        with pytest.raises(d.DataError) as caught: d.read_fashion_mnist(tmp_path, md5)
        for word in (path.name, md5[path.name], hashlib.md5(damaged).hexdigest()): assert word in str(caught.value)
    path.write_bytes(whole)
    with pytest.raises(d.DataError, match='expected md5'): load('fashion_mnist', folder=tmp_path)      # not the official archives
    for bad in (whole[:30], idx(np.zeros((2, 2), np.uint8))[:-1], gzip.compress(b'\0\0\x08\x01\0\0\0\x09abc'), b'nonsense'):
        with pytest.raises(d.DataError): d.parse_idx(bad)


def test_cifar_layouts_agree(tmp_path):
    from PIL import Image
    rng = np.random.default_rng(1)
    images, labels = rng.integers(0, 256, (6, 500, 32, 32, 3), np.uint8), rng.integers(0, 10, (6, 500), np.uint8)
    binary = lambda k: np.concatenate([labels[k][:, None], images[k].transpose(0, 3, 1, 2).reshape(500, -1)], 1).tobytes()
    names = [f'data_batch_{k}.bin' for k in range(1, 6)] + ['test_batch.bin']
    folder = tmp_path/'a'/'cifar-10-batches-bin'
    folder.mkdir(parents=True)
    for k, name in enumerate(names): (folder/name).write_bytes(binary(k))
    with tarfile.open(tmp_path/'cifar-10-binary.tar.gz', 'w:gz') as tar: tar.add(folder, 'cifar-10-batches-bin')
    strips = tmp_path/'b'/'cifar10'
    strips.mkdir(parents=True)
    for k in range(6): Image.fromarray(images[k].reshape(-1, 32, 3)).save(strips/(f'train_{k:03d}.webp' if k < 5 else 'test_000.webp'), lossless=True)
    np.savez(strips/'labels.npz', train=labels[:5].ravel(), test=labels[5])
    with pytest.raises(d.DataError, match='no checksum is known'): d.read_cifar10(tmp_path/'b')
    for place in (folder, strips): (place/'SHA256SUMS').write_text(''.join(f'{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n' for p in sorted(place.iterdir())))
    md5 = {'cifar-10-binary.tar.gz': hashlib.md5((tmp_path/'cifar-10-binary.tar.gz').read_bytes()).hexdigest()}
    for x, y, x_test, y_test in (d.read_cifar10(tmp_path, md5), d.read_cifar10(tmp_path/'a'), d.read_cifar10(tmp_path/'b')):
        assert (x == images[:5].reshape(-1, 32, 32, 3)).all() and (y == labels[:5].ravel()).all() and (x_test == images[5]).all() and (y_test == labels[5]).all()
    (strips/'test_000.webp').write_bytes((strips/'test_000.webp').read_bytes()[:-50])
    with pytest.raises(d.DataError, match='test_000.webp is truncated or altered'): d.read_cifar10(tmp_path/'b')


def test_celeba_layouts_agree(tmp_path):
    aligned = np.random.default_rng(2).integers(0, 256, (500, 218, 178, 3), np.uint8)
    crops = d.crop_celeba(aligned)
    assert crops.shape == (500, 64, 64, 3) and (crops[:, 0, 0] == aligned[:, 52, 24]).all() and (crops[:, -1, -1] == aligned[:, 178, 150]).all()
    tiles = aligned[:, 48:192, 16:160]
    picture = tiles.reshape(25, 20, 144, 144, 3).transpose(0, 2, 1, 3, 4).reshape(25 * 144, 20 * 144, 3)
    assert (d.untile_celeba(picture) == crops).all()
    from PIL import Image
    folder = tmp_path/'celeba'/'img_align_celeba'
    folder.mkdir(parents=True)
    for k in range(4): Image.fromarray(aligned[k]).save(folder/f'{k + 1:06d}.jpg', quality=95)
    with pytest.raises(d.DataError, match='list_eval_partition'): load('celeba', folder=tmp_path)
    (folder.parent/'list_eval_partition.txt').write_text('000001.jpg 0\n000002.jpg 1\n000003.jpg 0\n000004.jpg 2\n')
    data = load('celeba', folder=tmp_path, bits=8)
    assert len(data.train) + len(data.valid) == 3 and data.test.shape == (1, 64, 64, 3) and data.train_labels is None
    assert data.source == 'a local folder, no checksums known' and load('digits').source == 'scikit-learn'
    summed = tmp_path/'summed'/'celeba'; shutil.copytree(folder.parent, summed)
    (summed/'SHA256SUMS').write_text(''.join(f'{hashlib.sha256(path.read_bytes()).hexdigest()}  img_align_celeba/{path.name}\n' for path in sorted((summed/'img_align_celeba').glob('*.jpg'))))
    assert load('celeba', folder=summed.parent).source == 'a local folder, checksums verified'
    one = summed/'img_align_celeba'/'000003.jpg'; raw = bytearray(one.read_bytes()); raw[-9] ^= 1; one.write_bytes(raw)
    with pytest.raises(d.DataError, match='000003.jpg is truncated or altered'): load('celeba', folder=summed.parent)
    (folder/'000005.jpg').write_bytes(b'')
    with pytest.raises(d.DataError, match='218'): d.crop_celeba(np.zeros((1, 64, 64, 3), np.uint8))


@real
@pytest.mark.parametrize('name, n, shape', [('fashion_mnist', (54000, 6000, 10000), (28, 28, 1)), ('cifar10', (45000, 5000, 10000), (32, 32, 3)), ('celeba', (10800, 1200, 1500), (64, 64, 3))])
def test_the_real_archives(name, n, shape):
    data = load(name, bits=8, folder=HERE)
    assert (len(data.train), len(data.valid), len(data.test)) == n and data.shape == shape
    if name == 'celeba': assert hashlib.sha256(data.test.tobytes()).hexdigest() == 'd9d5dd1fa7bd376765c147b25d22779a5390e8070f3b971dd8df7bc686b21ba9'
    else: assert np.bincount(data.test_labels).tolist() == [1000] * 10 and np.bincount(np.concatenate([data.train_labels, data.valid_labels])).tolist() == [n[0] // 9 * 10 // 10] * 10


TFDS = '''
import sys, re, numpy as np
import tensorflow_datasets as tfds
from pathlib import Path
import importlib
module = importlib.import_module(type(tfds.builder('fashion_mnist', file_format='array_record', data_dir=sys.argv[2])).__module__)
names = [n for n in vars(module) if 'URL' in n and isinstance(vars(module)[n], str)]
for n in names: setattr(module, n, sys.argv[1] + '/')
builder_class = type(tfds.builder('fashion_mnist', file_format='array_record', data_dir=sys.argv[2]))
if hasattr(builder_class, 'URL'): builder_class.URL = sys.argv[1] + '/'
from nif_lit.data import read_tfds
x, y, x_test, y_test = read_tfds('fashion_mnist', sys.argv[2])
np.savez(sys.argv[3], x=x, y=y, x_test=x_test, y_test=y_test)
'''


@real
def test_tensorflow_datasets_for_real(tmp_path):
    "The official archives, served on loopback to tensorflow-datasets' own downloader; preparing needs TensorFlow (the tfds extra)."
    python = os.environ.get('NIF_LIT_TFDS_PYTHON', sys.executable)
    if subprocess.run([python, '-c', 'import tensorflow'], capture_output=True).returncode: pytest.skip("TensorFlow is not installed: pip install 'nif_lit[tfds]' prepares Fashion-MNIST")
    handler = lambda *a, **k: http.server.SimpleHTTPRequestHandler(*a, directory=str(Path(HERE).resolve()/'fashion_mnist'), **k)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = subprocess.run([python, '-c', TFDS, f'http://127.0.0.1:{server.server_port}', str(tmp_path/'tfds'), str(tmp_path/'out.npz')], capture_output=True, text=True, timeout=600,
                              env=os.environ | dict(PYTHONPATH=str(Path(__file__).parent.parent), TF_CPP_MIN_LOG_LEVEL='3'))
        server.shutdown()
    assert done.returncode == 0, done.stderr[-1500:]
    ours, theirs = d.read_fashion_mnist(HERE), np.load(tmp_path/'out.npz')
    for a, b in zip(ours, (theirs[k] for k in ('x', 'y', 'x_test', 'y_test'))):
        key = lambda v: sorted(hashlib.md5(row.tobytes()).digest() for row in v)
        assert a.shape == b.shape and key(a) == key(b)


def test_without_folder_or_network_both_ways_are_named(monkeypatch, tmp_path):
    monkeypatch.delenv('NIF_LIT_DATA', raising=False)
    import tensorflow_datasets as tfds
    def refuse(*a, **k): raise ConnectionError('no route to the server')
    monkeypatch.setattr(tfds, 'builder', refuse)
    with pytest.raises(d.DataError, match='no route.*NIF_LIT_DATA'): load('cifar10')
