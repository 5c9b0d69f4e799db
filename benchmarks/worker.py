"""The inside of a contender's process: makes it, says what it is, then answers one call after the other. Not for hand use."""
import json
import os
import sys


def make(contender, config):
    "The object behind a contender's name; imports only what that one needs."
    if contender.startswith('ours'):
        from . import ours
        return ours.CONTENDERS[contender](config)
    if contender in ('distrax', 'numpyro'):
        from . import peers_jax
        return peers_jax.CONTENDERS[contender](config)
    from . import peers_torch
    return peers_torch.CONTENDERS[contender](config)


def main(contender, config, cores):
    answers = os.fdopen(os.dup(1), 'w')                                        # whatever else prints goes to stderr
    os.dup2(2, 1)
    if hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    def answer(f):
        try: value = dict(value=f())
        except Exception as error:
            import traceback
            traceback.print_exc()
            value = dict(error=f'{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ""}')
        answers.write(json.dumps(value) + '\n'); answers.flush()
        return 'value' in value
    made = []
    def start(): made.append(make(contender, config | dict(threads=cores))); return made[0].info
    if not answer(start): return
    for line in sys.stdin:
        call = json.loads(line)
        answer(lambda: getattr(made[0], call['method'])(**call['arguments']))


if __name__ == '__main__': main(sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]))
