"The ledger is complete, and notices what is taken away."
from pathlib import Path
import pytest
from nif_lit.ledger import ledger

NBS = Path(__file__).parent.parent / 'nbs'


def test_every_equation_has_a_place_a_function_a_check_and_a_planted_bug():
    rows = ledger(NBS)
    assert [row.number for row in rows] == list(range(1, 57))
    for row in rows:
        for part in ('notebook', 'function', 'check', 'bug', 'status'): assert getattr(row, part), (row.number, part)
        assert f'paper_{row.number}' in row.check and f'bug_{row.number}' in row.bug and f'{{#p{row.number}}}' in (NBS / row.notebook).read_text()
        assert row.gap == row.gap and row.bug_gap == row.bug_gap and row.gap < row.bug_gap, row                     # both displayed, and the bug is the larger


def test_equations_known_to_be_misprinted_are_not_said_to_hold():
    status = {row.number: row.status for row in ledger(NBS)}
    assert status[21] == 'holds, sign corrected' and all(status[n] == 'holds corrected' for n in (29, 41, 54, 55, 56)) and all('proviso' in status[n] for n in (4, 6, 20, 32)) and all('label' in status[n] for n in (37, 38, 52))


@pytest.mark.parametrize('name, old, new, number, part', [('01', 'def paper_13(', 'def smoothed(', 13, 'function'), ('04', '{#p30}', '', 30, 'notebook'), ('05', 'check(paper_36(', 'abs(paper_36(', 36, 'check'),
                                                          ('06', 'rejects(bug_47(', 'abs(bug_47(', 47, 'bug'), ('08', '\\\\tag{paper 40}', '', 40, 'status')])
def test_a_missing_part_is_found(name, old, new, number, part, tmp_path):
    for path in NBS.glob('0*.ipynb'):
        text = path.read_text(); assert not path.name.startswith(name) or old in text
        (tmp_path / path.name).write_text(text.replace(old, new) if path.name.startswith(name) else text)
    assert [p for p in ('notebook', 'function', 'check', 'bug', 'status') if not getattr(ledger(tmp_path)[number - 1], p)] == [part]


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match='theory notebooks'): ledger(tmp_path)
