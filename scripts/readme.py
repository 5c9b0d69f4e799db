"README.md from nbs/index.ipynb: markdown as it is, code fenced, text outputs behind it. Run from the top of the project."
import sys
from pathlib import Path
import nbformat


def render(notebook):
    "The markdown of a notebook."
    parts = []
    for cell in nbformat.read(notebook, 4).cells:
        source = '\n'.join(line for line in cell.source.split('\n') if not line.startswith('#|'))
        hidden = any(word in cell.source for word in ('#| hide', '#| include: false')) and cell.cell_type == 'code'
        if not source.strip() or hidden: continue
        parts.append(source if cell.cell_type == 'markdown' else f'```python\n{source.strip()}\n```')
        for output in cell.get('outputs', []):
            text = output.get('text') or output.get('data', {}).get('text/plain')
            if text: parts.append('```\n' + ''.join(text).rstrip() + '\n```')
    return '\n\n'.join(parts) + '\n'


def with_links(text):
    "Links between pages lead into nbs/ when read beside the code."
    import re
    return re.sub(r'\]\((\d\d_[a-z_]+\.ipynb)', r'](nbs/\1', text)


if __name__ == '__main__':
    text = with_links(render('nbs/index.ipynb'))
    if '--check' in sys.argv: raise SystemExit(Path('README.md').read_text() != text)
    Path('README.md').write_text(text)
