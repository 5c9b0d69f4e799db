"README.md from nbs/index.ipynb: markdown as it is, code fenced, outputs behind it, pictures beside it as README_1.png and so on. Run from the top of the project."
import base64
import re
import sys
from pathlib import Path
import nbformat


def render(notebook):
    "(text, pictures): the markdown of a notebook, and dict file name -> PNG bytes of the pictures that it shows."
    parts, pictures = [], {}
    for cell in nbformat.read(notebook, 4).cells:
        option = lambda name: (re.search(rf'^#\| {name}: "?(.*?)"?$', cell.source, re.M) or [None, ''])[1]
        source = '\n'.join(line for line in cell.source.split('\n') if not line.startswith('#|'))
        hidden = any(word in cell.source for word in ('#| hide', '#| include: false')) and cell.cell_type == 'code'
        if not source.strip() or hidden: continue
        if cell.cell_type == 'markdown': parts.append(source)
        elif option('echo') != 'false': parts.append(f'```python\n{source.strip()}\n```')
        for output in cell.get('outputs', []):
            data = output.get('data', {})
            if 'image/png' in data:
                name = f'README_{len(pictures) + 1}.png'
                pictures[name] = base64.b64decode(data['image/png'])
                parts.append(f'![{option("fig-alt")}]({name})' + (f'\n\n*{option("fig-cap")}*' if option('fig-cap') else ''))
            elif text := output.get('text') or data.get('text/plain'): parts.append('```\n' + ''.join(text).rstrip() + '\n```')
    return '\n\n'.join(parts) + '\n', pictures


def with_links(text):
    "Links between pages lead into nbs/ when read beside the code."
    return re.sub(r'\]\((\d\d_[a-z_]+\.ipynb)', r'](nbs/\1', text)


if __name__ == '__main__':
    text, pictures = render('nbs/index.ipynb')
    files = {'README.md': with_links(text).encode(), **pictures}
    if '--check' in sys.argv: raise SystemExit(any(not Path(name).exists() or Path(name).read_bytes() != content for name, content in files.items()) or {p.name for p in Path().glob('README_*.png')} != set(pictures))
    for name, content in files.items(): Path(name).write_bytes(content)
