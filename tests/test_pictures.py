"""Pictures: exact pixels, colours by label, the same bytes, nothing left behind, escaped pages."""
import io, os, re, subprocess, sys
from html.parser import HTMLParser
from urllib.parse import unquote
import numpy as np
import pytest
from PIL import Image
import nif_lit.pictures as pictures
from nif_lit.pictures import COLOURS, curve_figure, dots_figure, gallery, grid_figure, label_colours, markdown_table, page_sections, png, save_png, style, text_table, tile


def levels(n, H, W, C, bits, seed=0): return np.random.default_rng(seed).integers(0, 2 ** bits, (n, H, W, C)).astype(np.uint8)
def opened(data):
    with Image.open(io.BytesIO(data)) as image: return np.asarray(image.convert('RGB'))
def pixels(figure): return opened(png(figure))


def places(page, block):
    "Every (y, x) where a block occurs in a page, pixel for pixel."
    h, w, _ = block.shape
    starts = np.argwhere((page[:page.shape[0] - h + 1, :page.shape[1] - w + 1] == block[0, 0]).all(-1))
    return [(int(y), int(x)) for y, x in starts if np.array_equal(page[y:y + h, x:x + w], block)]


def enlarged(image, bits, k):
    "An independent statement of how one image of levels looks: exact fractions, then a k x k square for each pixel."
    H, W, C = image.shape
    out = np.zeros((H * k, W * k, 3), np.uint8)
    for y in range(H * k):
        for x in range(W * k):
            pixel = image[y // k, x // k]
            out[y, x] = [(2 * 255 * int(pixel[c if C == 3 else 0]) + 2 ** bits - 1) // (2 * (2 ** bits - 1)) for c in range(3)]
    return out


# ---- tile
@pytest.mark.parametrize('bits', [1, 3, 5, 8])
@pytest.mark.parametrize('n, H, W, C, columns, gap', [(5, 3, 4, 1, 2, 1), (6, 2, 5, 3, 3, 2), (1, 4, 3, 3, None, 1), (7, 2, 3, 2, None, 0), (3, 2, 2, 5, 4, 3)])
def test_tile_places_each_pixel(n, H, W, C, columns, gap, bits):
    x = levels(n, H, W, C, bits)
    out, columns = tile(x, bits, columns=columns, gap=gap), columns or int(np.ceil(n ** 0.5))
    rows = -(-n // columns)
    assert out.dtype == np.uint8 and out.shape == (rows * H + (rows - 1) * gap, columns * W + (columns - 1) * gap, 3)
    covered = np.zeros(out.shape[:2], bool)
    for i in range(n):
        y, x0 = (i // columns) * (H + gap), (i % columns) * (W + gap)
        assert np.array_equal(out[y:y + H, x0:x0 + W], enlarged(x[i], bits, 1))
        covered[y:y + H, x0:x0 + W] = True
    assert (out[~covered] == 255).all()


def test_tile_leaves_its_input_alone_and_spans_black_to_white():
    x = np.array([0, 7], np.uint8).reshape(1, 1, 2, 1); before = x.copy()
    assert tile(x, 3)[0, :, 0].tolist() == [0, 255] and np.array_equal(x, before)


@pytest.mark.parametrize('images, bits, options, message', [
    (np.zeros((2, 4, 4), np.uint8), 3, {}, r'\(n, H, W, C\).*got \(2, 4, 4\)'),
    (np.zeros((0, 4, 4, 1), np.uint8), 3, {}, r'got \(0, 4, 4, 1\)'),
    (np.zeros((2, 4, 4, 1)), 3, {}, 'expected uint8 levels, got float64'),
    (np.full((2, 4, 4, 1), 8, np.uint8), 3, {}, r'expected levels 0 to 7 \(3 bits\), got 8'),
    (np.zeros((2, 4, 4, 1), np.uint8), 9, {}, 'bits must be an integer from 1 to 8, got 9'),
    (np.zeros((2, 4, 4, 1), np.uint8), 3, {'columns': 0}, 'columns must be a positive integer, got 0'),
    (np.zeros((2, 4, 4, 1), np.uint8), 3, {'gap': -1}, 'gap must be a non-negative integer, got -1')])
def test_tile_refuses(images, bits, options, message):
    with pytest.raises(ValueError, match=message): tile(images, bits, **options)


# ---- grid_figure
@pytest.mark.parametrize('H, W, C, zoom', [(8, 8, 1, None), (5, 7, 3, 3), (28, 28, 1, None), (9, 4, 3, 1)])
def test_grid_pixels_are_exact_and_aligned(H, W, C, zoom):
    rows = {'data': levels(4, H, W, C, 3, seed=1), 'NIF-8': levels(3, H, W, C, 3, seed=2), 's = 0.5': levels(4, H, W, C, 3, seed=3)}
    page = pixels(grid_figure(rows, 3, zoom=zoom, title='A title', column_labels=['t = 0', 't = 0.25', 't = 0.5', 'much wider than t'],
                              captions={'NIF-8': ['0.1', '0.2', '0.3']}))
    k = zoom or max(1, round(56 / max(H, W)))
    found = [[places(page, enlarged(image, 3, k)) for image in images] for images in rows.values()]
    assert all(len(where) == 1 for row in found for where in row)
    ys, xs = [[row[j][0][0] for j in range(len(row))] for row in found], [[where[0][1] for where in row] for row in found]
    assert all(len(set(y)) == 1 for y in ys) and ys[0][0] < ys[1][0] < ys[2][0]
    assert xs[0] == xs[2] and xs[1] == xs[0][:3] and len(set(np.diff(xs[0]))) == 1 and xs[0][1] - xs[0][0] >= W * k + 4


def test_grid_has_room_for_its_text():
    x = levels(3, 8, 8, 1, 3)
    figure = grid_figure({'a label that is rather long': x, 'b': x}, 3, title='title', column_labels=['wide column label'] * 3, captions={'b': ['1.2345678901'] * 3})
    pixels(figure); boxes = [t.get_window_extent() for t in figure.texts]
    assert [t.get_text() for t in figure.texts].count('wide column label') == 3 and len(boxes) == 1 + 3 + 2 + 3
    assert all(b.x0 >= 0 and b.y0 >= 0 and b.x1 <= figure.bbox.width and b.y1 <= figure.bbox.height for b in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert not any(b.x0 < i.ox + i.get_size()[1] and b.x1 > i.ox and b.y0 < i.oy + i.get_size()[0] and b.y1 > i.oy for b in boxes for i in figure.images)


def test_grid_label_colours():
    x = levels(1, 8, 8, 1, 3)
    shown = {t.get_text(): t.get_color() for t in grid_figure({'data': x, 'NF': x, 'NIF': x, 's = 1': x}, 3).texts}
    assert shown == {'data': COLOURS['data'], 'NF': COLOURS['NF'], 'NIF': COLOURS['NIF'], 's = 1': COLOURS['reference']}


X = levels(2, 8, 8, 1, 3)
@pytest.mark.parametrize('rows, options, message', [
    ({}, {}, 'non-empty dict'), ([X], {}, 'got list'), ({'a': X, 'b': X[:, :4]}, {}, r'one height and width.*\(2, 4, 8, 1\)'), ({'a': X[0]}, {}, r"rows\['a'\].*got \(8, 8, 1\)"),
    ({'a': X + np.uint8(8)}, {}, r"rows\['a'\]: expected levels 0 to 7"), ({'a': X}, {'column_labels': ['1']}, 'column_labels: expected 2, one per column, got 1'),
    ({'a': X}, {'captions': {'c': ['1', '2']}}, "among \\['a'\\], got 'c'"), ({'a': X}, {'captions': {'a': ['1']}}, 'expected 2, one per image, got 1'),
    ({'a': X}, {'zoom': 0}, 'zoom must be a positive integer, got 0')])
def test_grid_refuses(rows, options, message):
    with pytest.raises(ValueError, match=message): grid_figure(rows, 3, **options)


# ---- colours, curves, dots
def luminance(colour): return np.dot([int(colour[i:i + 2], 16) for i in (1, 3, 5)], [0.2126, 0.7152, 0.0722])


def test_label_colours():
    one = label_colours(['NF', 'NF seed 1', 'nif', 'deep NIF', 'data (test)', 'published', 'NFX', 'database'])
    assert one == {'NF': COLOURS['NF'], 'NF seed 1': COLOURS['NF'], 'nif': COLOURS['NIF'], 'deep NIF': COLOURS['NIF'], 'data (test)': COLOURS['data'],
                   'published': COLOURS['reference'], 'NFX': COLOURS['reference'], 'database': COLOURS['reference']}
    many = label_colours(['NIF-128', 'NIF-8', 'NIF-16', 'NF'])
    assert luminance(many['NIF-8']) > luminance(many['NIF-16']) > luminance(many['NIF-128']) and many['NF'] == COLOURS['NF']
    assert all(label_colours([name]) == {name: many[name]} for name in many), 'the same colour in every figure'
    for name in ('NIF-8', 'NIF-16', 'NIF-128'): assert int(many[name][1:3], 16) < int(many[name][3:5], 16) < int(many[name][5:7], 16), 'a shade of blue'


def test_curves_draw_the_numbers_in_their_colours():
    x = np.arange(5.0); ys = np.stack([x, x + 2])
    figure = curve_figure({'NF': (x, 3 - x), 'NIF': (x, ys), 'NF again': (x, 10 - x)}, 'images', 'bits/dim', reference={'uniform': 3.0}); ax = figure.axes[0]
    lines = {line.get_label(): line for line in ax.lines}
    assert np.array_equal(lines['NF'].get_ydata(), 3 - x) and lines['NF'].get_color() == lines['NF again'].get_color() == COLOURS['NF']
    assert lines['NF'].get_linestyle() != lines['NF again'].get_linestyle()
    assert np.array_equal(lines['NIF'].get_ydata(), x + 1) and sum(line.get_color() == COLOURS['NIF'] for line in ax.lines) == 3
    assert (lines['uniform'].get_linestyle(), lines['uniform'].get_color()) == ('--', COLOURS['reference']) and set(lines['uniform'].get_ydata()) == {3.0}
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ['NF again', 'NIF', 'NF', 'uniform']
    given = curve_figure({'NF': (x, 3 - x), 'NIF-64': (x, ys)}, 'images', 'bits/dim', legend='given').axes[0]
    assert [t.get_text() for t in given.get_legend().get_texts()] == ['NF', 'NIF-64']
    with pytest.raises(ValueError, match=r"'NF': expected \(x, y\), two arrays, got \[1, 2, 3\]"): curve_figure({'NF': [1, 2, 3]}, 'x', 'y')
    assert np.array_equal(pixels(grid_figure({'a': np.zeros((2, 4, 4, 1), np.uint8)}, 3, column_labels=np.arange(2))), pixels(grid_figure({'a': np.zeros((2, 4, 4, 1), np.uint8)}, 3, column_labels=[0, 1])))
    with pytest.raises(ValueError, match="'ends' or 'given', got 'best'"): curve_figure({'NF': (x, x)}, 'x', 'y', legend='best')
    assert not ax.spines['top'].get_visible() and not ax.spines['right'].get_visible() and (ax.get_xlabel(), ax.get_ylabel()) == ('images', 'bits/dim')
    assert pixels(curve_figure({'NF': ([1, 10, 100], [3, np.nan, 1])}, 'x', 'y', log_x=True)).std() > 0


@pytest.mark.parametrize('metrics, message', [({}, 'non-empty dict'), ({'NF': ([1, 2], [1])}, r"'NF'.*got \(2,\) and \(1,\)"), ({'NF': ([], [])}, 'k >= 1'),
                                              ({'NF': ([1, 2], [[1, 2, 3]])}, r'got \(2,\) and \(1, 3\)')])
def test_curves_refuse(metrics, message):
    with pytest.raises(ValueError, match=message): curve_figure(metrics, 'x', 'y')


def test_dots_show_each_seed_the_mean_and_the_deviation():
    table = [dict(label='NF', mean=2.0, sd=0.5, values=[1.5, 2.0, 2.5]), dict(label='NIF', mean=3.0, sd=None, values=[3.0])]
    ax = dots_figure(table, 'bits/dim', reference={'paper': 2.7}).axes[0]
    dots = [line for line in ax.lines if line.get_marker() == 'o']
    assert [list(d.get_xdata()) for d in dots] == [[1.5, 2.0, 2.5], [3.0]] and [d.get_color() for d in dots] == [COLOURS['NF'], COLOURS['NIF']]
    bars = [segment[:, 0].tolist() for c in ax.collections for segment in c.get_segments()]
    assert bars == [[1.5, 2.5]]
    assert [t.get_text() for t in ax.get_yticklabels()] == ['NF', 'NIF'] and ax.get_ylim()[0] > ax.get_ylim()[1], 'the first row stands on top'
    texts = [t.get_text() for t in ax.texts]
    assert texts == ['2.000 \u00b1 0.500', '3.000', 'paper']


def test_one_value_is_one_dot():
    ax = dots_figure([dict(label='one', mean=2.0, sd=None, values=[2.0]), dict(label='two', mean=2.0, sd=0.1, values=[1.9, 2.1])], 'bits/dim').axes[0]
    assert [list(line.get_ydata()) for line in ax.lines if len(line.get_xdata()) == 1 and line.get_marker() == 'o'] == [[0]] and len(ax.containers) == 1



@pytest.mark.parametrize('table, message', [([], 'at least one row'), ([{'label': 'NF', 'mean': 1}], "got \\['label', 'mean'\\]"),
                                            ([dict(label='NF', mean=np.nan, sd=1, values=[1])], "'NF': expected a finite mean"), ([dict(label='NF', mean=1, sd=1, values=[])], r'\(seeds,\)')])
def test_dots_refuse(table, message):
    with pytest.raises(ValueError, match=message): dots_figure(table, 'x')


def test_style_comes_and_goes():
    import matplotlib
    before = dict(matplotlib.rcParams)
    with style(): assert matplotlib.rcParams['figure.dpi'] == 90 and not matplotlib.rcParams['axes.spines.top'] and matplotlib.rcParams['image.cmap'] == 'gray'
    grid_figure({'a': X}, 3); png(curve_figure({'NF': ([1, 2], [1, 2])}, 'x', 'y'))
    assert dict(matplotlib.rcParams) == before


def test_neither_import_nor_figures_touch_pyplot():
    code = ("import sys, nif_lit.pictures as p; assert 'matplotlib' not in sys.modules; import numpy as np\n"
            "p.png(p.grid_figure({'a': np.zeros((2, 8, 8, 1), np.uint8)}, 3)); p.png(p.curve_figure({'NF': ([1, 2], [1, 2])}, 'x', 'y'))\n"
            "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules")
    subprocess.run([sys.executable, '-W', 'error', '-c', code], check=True, env={k: v for k, v in os.environ.items() if k not in ('MPLBACKEND', 'DISPLAY')})


# ---- files
def figures():
    x = np.arange(4.0)
    return [grid_figure({'a': X}, 3, title='t'), curve_figure({'NF': (x, x), 'NIF-8': (x, x + 1)}, 'x', 'y'),
            dots_figure([dict(label='NF', mean=1.0, sd=0.1, values=[0.9, 1.1])], 'x'), tile(X, 3)]


def test_png_bytes_are_the_same_and_carry_no_date_or_version(tmp_path):
    for i, (first, second) in enumerate(zip(figures(), figures())):
        path = save_png(first, tmp_path/f'{i}.png'); data = path.read_bytes()
        assert data == png(second) == png(first)
        chunks, at = set(), 8
        while at < len(data): chunks.add(data[at + 4:at + 8]); at += 12 + int.from_bytes(data[at:at + 4], 'big')
        assert not chunks & {b'tEXt', b'zTXt', b'iTXt', b'tIME'}
    assert np.array_equal(opened((tmp_path/'3.png').read_bytes()), tile(X, 3))


def test_a_figure_shows_itself(): assert figures()[0]._repr_png_() == png(figures()[0])


@pytest.mark.parametrize('picture', [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), 'a.png'])
def test_png_refuses(picture, tmp_path):
    with pytest.raises(ValueError, match='expected a'): save_png(picture, tmp_path/'a.png')
    assert os.listdir(tmp_path) == []


def test_files_are_whole_or_untouched(tmp_path, monkeypatch):
    path = save_png(tile(X, 3), tmp_path/'new'/'a.png'); before = path.read_bytes()
    assert os.listdir(path.parent) == ['a.png']
    save_png(tile(X[:1], 3), path); after = path.read_bytes()
    assert after != before and os.listdir(path.parent) == ['a.png']
    for broken in ('replace', 'fsync'):
        def full(*_): raise OSError(28, 'No space left on device')
        with monkeypatch.context() as m:
            m.setattr(os, broken, full)
            with pytest.raises(OSError, match='No space left'): save_png(tile(X, 3), path)
            with pytest.raises(OSError, match='No space left'): gallery(path.parent, title='t', intro='', sections=[])
        assert path.read_bytes() == after and os.listdir(path.parent) == ['a.png']


# ---- tables
def test_text_table_aligns():
    table = text_table(['model', 'bits/dim', 'M', 'note'], [['NF', '1.5 \u00b1 0.1', None, 'a\nb'], ['NIF-128', '12.25', 128, '7 of 9']])
    assert table.split('\n') == ['model     bits/dim    M  note', '-------  ---------  ---  ------', 'NF       1.5 \u00b1 0.1       a b', 'NIF-128      12.25  128  7 of 9']
    assert text_table(['a', 'bb'], []) == 'a  bb\n-  --'


def test_widths_of_a_markdown_table_are_dashes():
    assert markdown_table(('a', 'n'), [('x', 1)], (5, 3)).splitlines()[1] == '|-----|---:|' and markdown_table(('a', 'n'), [('x', 1)]).splitlines()[1] == '|---|---:|'
    for widths in ((5,), (5, 2)):
        with pytest.raises(ValueError, match='expected 2 widths'): markdown_table(('a', 'n'), [('x', 1)], widths)


def test_text_table_refuses():
    with pytest.raises(ValueError, match=r'row 1: expected 2 cells.*got 3'): text_table(['a', 'b'], [[1, 2], [1, 2, 3]])
    with pytest.raises(ValueError, match='at least one column'): text_table([], [])


# ---- the gallery
class Page(HTMLParser):
    def __init__(self, text): super().__init__(); self.tags, self.text, self.open = [], '', []; self.feed(text); self.close()
    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ('meta', 'img'): self.open.append(tag)
    def handle_endtag(self, tag): assert self.open.pop() == tag
    def handle_data(self, data): self.text += data
    def all(self, tag): return [attrs for name, attrs in self.tags if name == tag]


EVIL = '<script>alert("1")</script> & \'"><img src=x onerror=alert(1)>'
def made(folder):
    save_png(figures()[1], folder/'a curve & more#1.png'); save_png(figures()[0], folder/'deep'/'grid.png')
    sections = [dict(title='Table' + EVIL, caption=EVIL + '\n\nsecond', table=([EVIL, 'n'], [[EVIL, 1], ['x', 22]])),
                dict(title='Curve', caption='c', png='a curve & more#1.png', alt=EVIL), dict(title='Grid', caption='', png='deep/grid.png', alt='grid', table=None)]
    return gallery(folder, title=EVIL, intro=EVIL, sections=sections, provenance={EVIL: EVIL, 'seed': 0})


def test_gallery_escapes_everything(tmp_path):
    page = Page(made(tmp_path).read_text())
    assert page.open == [] and not page.all('script') and len(page.all('img')) == 2 and not any('onerror' in a for _, a in page.tags)
    assert page.text.count(EVIL) == 10             # head, title, intro, section, caption, contents, two cells, two of the footer
    assert page.all('img')[0]['alt'] == EVIL


def test_gallery_links_exist_and_nothing_comes_from_elsewhere(tmp_path):
    path = made(tmp_path); text, page = path.read_text(), Page(path.read_text())
    assert path == tmp_path/'index.html' and sorted(os.listdir(tmp_path)) == ['a curve & more#1.png', 'deep', 'index.html']
    ids = {a['id'] for _, a in page.tags if 'id' in a}
    for link in [a['href'] for a in page.all('a')] + [a['src'] for a in page.all('img')]:
        assert link[1:] in ids if link.startswith('#') else (tmp_path/unquote(link)).is_file() and not link.startswith('/'), link
    assert not page.all('link') and not re.search(r'url\(|@import|https?:|//', re.sub(r'https?', '', text.split('<style>')[1].split('</style>')[0])) and 'http' not in text
    assert str(tmp_path) not in text and page.all('html')[0]['lang'] == 'en' and any(a.get('name') == 'viewport' for a in page.all('meta'))
    for a in page.all('img'): assert (int(a['height']), int(a['width'])) == opened((tmp_path/unquote(a['src'])).read_bytes()).shape[:2] and a['alt']


def test_gallery_numbers_stand_right_and_bytes_stay(tmp_path):
    path = made(tmp_path); first = path.read_bytes()
    assert made(tmp_path).read_bytes() == first and b'<td class=n>22</td>' in first and b'<td>x</td>' in first


@pytest.mark.parametrize('section, message', [
    (dict(title='t', png='none.png', alt='x'), "inside the gallery's folder, got 'none.png'"), (dict(title='t', png='../out.png', alt='x'), "got '../out.png'"),
    (dict(title='t', png='a.png'), "alt: expected a description of 'a.png', got None"), (dict(title='t', png='text.png', alt='x'), 'expected a PNG file'),
    (dict(title='t', image='a.png'), "got \\['image', 'title'\\]"), (dict(caption='t'), 'expected title'), (dict(title='t', table=(['a'], [[1, 2]])), 'row 0: expected 1 cells')])
def test_gallery_refuses_and_writes_nothing(section, message, tmp_path):
    save_png(tile(X, 3), tmp_path/'out.png'); save_png(tile(X, 3), tmp_path/'g'/'a.png'); (tmp_path/'g'/'text.png').write_text('no picture')
    with pytest.raises(ValueError, match=message): gallery(tmp_path/'g', title='t', intro='', sections=[section])
    assert sorted(os.listdir(tmp_path/'g')) == ['a.png', 'text.png']


def test_rows_may_be_named_by_numbers():
    assert [t.get_text() for t in grid_figure({0.0: X, 0.5: X}, 3, captions={0.5: ['a', 'b']}).texts] == ['0.0', '0.5', 'a', 'b']


def test_a_long_caption_is_folded_behind_its_first_paragraph(tmp_path):
    "On a page and in the gallery; links in Markdown stay links where Markdown is read and become words where it is not; a number stays beside its error."
    (tmp_path/'a.png').write_bytes(png(grid_figure({'a': X}, 3)))
    table, caption = (['model', 'bits'], [['NF', '1.2 ± 0.1']]), 'What it shows,\nin short (page [26](26_protocol.ipynb)).\n\nThe rest <b> of page [32](32_samples.ipynb).'
    plain, heading, figure = (*page_sections(tmp_path, [dict(title='T', caption=caption, table=table)]), *page_sections(tmp_path, [dict(title='F', caption=caption, png='a.png', alt='dots')]))
    assert plain.data.count('<details>') == 1 and '[26](26_protocol.ipynb)' in plain.data.split('<details>')[0] and '\n\nThe rest <b> of page [32](32_samples.ipynb).\n\n</details>' in plain.data
    assert '1.2\u00a0±\u00a00.1' in plain.data and 'What it shows, in short' in plain.data
    assert 'in short (page 26).<details>' in figure.data and '<p>The rest &lt;b&gt; of page 32.</p></details></figcaption>' in figure.data and '](' not in figure.data and heading.data.startswith('### F')
    page = gallery(tmp_path, title='g', intro='i', sections=[dict(title='F', caption=caption, png='a.png', alt='dots'), dict(title='S', caption='short', table=table)]).read_text()
    assert page.count('<details>') == 1 and '<p class=caption>What it shows, in short (page 26).</p><details>' in page and '](' not in page


def test_a_number_stays_beside_its_error_only_where_the_table_fits():
    row = ['1.2345 ± 0.1234'] * 8
    assert '\u00a0' in markdown_table(['column'] * 4, [row[:4]]) and '\u00a0' not in markdown_table(['column'] * 8, [row])


def test_columns_are_as_wide_as_their_cells_need():
    "Pandoc gives every column of a table with a long line its share of dashes: alike for all, a short one would stand empty beside a long one that wraps."
    widths = lambda *cells: [len(d.rstrip(':')) for d in markdown_table([f'h{k}' for k in range(len(cells))], [cells]).splitlines()[1].strip('|').split('|')]
    assert widths('a', 'b') == [3, 3]
    short, long = widths('NIF-128', 'word ' * 30)
    assert short >= len('NIF-128') + 2 and 3 * short < long
    assert widths('[NIF-128](a-page-with-a-long-name.ipynb)', 'word ' * 30) == [short, long]


def test_files_are_named_for_what_they_are(tmp_path):
    with pytest.raises(ValueError, match="written as a .png, got 'q.gif'"): save_png(np.zeros((3, 3, 3), np.uint8), tmp_path/'q.gif')
    for name in ('../x.html', '', 'a/b.html'):
        with pytest.raises(ValueError, match='name must be that of a file'): gallery(tmp_path, title='t', intro='i', sections=[], name=name)
    (tmp_path/'file').write_text('')
    with pytest.raises(OSError) as refused: save_png(np.zeros((3, 3, 3), np.uint8), tmp_path/'file'/'q.png')
    assert '.part' not in str(refused.value)
