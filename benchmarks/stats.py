"""From rounds of seconds to one ratio: paired within a round, median over rounds, with its range. Standard library only."""
from statistics import median


def paired(ours, theirs):
    "Their seconds over ours, round by round: above 1 we are faster. Raises `ValueError` unless both saw the same rounds."
    if len(ours) != len(theirs) or not ours: raise ValueError(f'paired ratios need the same rounds, got {len(ours)} and {len(theirs)}')
    if min(*ours, *theirs) <= 0: raise ValueError('seconds must be positive')
    return [b / a for a, b in zip(ours, theirs)]


def summary(values):
    "Median, least and greatest, as a dict."
    return dict(median=median(values), low=min(values), high=max(values), n=len(values))


def against_fastest(seconds, ours):
    """The closest rival of `ours` in {contender: seconds per round}: its name, its summary of paired ratios, and everybody's.

    The fastest peer is the one with the smallest median ratio, not the one with the luckiest round.
    """
    everyone = {name: summary(paired(seconds[ours], theirs)) for name, theirs in seconds.items() if name != ours}
    if not everyone: raise ValueError('no peer to compare with')
    name = min(everyone, key=lambda name: everyone[name]['median'])
    return name, everyone[name], everyone


def verdict(value, target, *, at_most=False):
    "'met' or 'missed'; '' without a target, 'not run' without a value."
    if target is None: return ''
    if value is None: return 'not run'
    return 'met' if (value <= target if at_most else value >= target) else 'missed'


def aligned(rows):
    "Rows of texts as a Markdown table; the first row is the head."
    widths = [max(len(str(row[k])) for row in rows) for k in range(len(rows[0]))]
    line = lambda row: '| ' + ' | '.join(str(cell).ljust(w) for cell, w in zip(row, widths)) + ' |'
    return '\n'.join([line(rows[0]), '|' + '|'.join('-' * (w + 2) for w in widths) + '|', *map(line, rows[1:])])
