"""One process per contender, kept alive and asked in turn: A B C D A B C D ... Standard library only."""
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from .machine import ROOT, environment

PAUSE = 0.3             # seconds between turns: the threads of the last contender stop spinning (OpenMP and OpenBLAS wait actively for up to 200 ms)


class Failed(RuntimeError):
    "A contender that could not start, raised, or gave no answer in time."


class Worker:
    "A contender in its own process. `call(method, **arguments)` waits for the answer. Raises `Failed` with the contender's last words."

    def __init__(self, contender, config, *, cores=2, timeout=600):
        self.contender, self.timeout = contender, timeout
        self.log = tempfile.TemporaryFile()
        began = time.monotonic()
        self.process = subprocess.Popen([sys.executable, '-W', 'ignore', '-m', 'benchmarks.worker', contender, json.dumps(config), str(cores)], cwd=ROOT, env=environment(),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log)
        self._buffer = b''
        try: self.info = self._answer()
        except BaseException: self.close(); raise
        self.started = time.monotonic() - began

    def _words(self):
        self.log.seek(0)
        lines = [line for line in self.log.read().decode(errors='replace').splitlines() if line.strip()]
        return lines[-1][-300:] if lines else 'no message'

    def _answer(self):
        deadline = time.monotonic() + self.timeout
        fd = self.process.stdout.fileno()
        while b'\n' not in self._buffer:
            ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
            if not ready: raise Failed(f'{self.contender}: no answer in {self.timeout} s')
            part = os.read(fd, 65536)
            if not part: self.process.wait(); raise Failed(f'{self.contender}: the process ended with {self.process.returncode}: {self._words()}')
            self._buffer += part
        line, self._buffer = self._buffer.split(b'\n', 1)
        answer = json.loads(line)
        if 'error' in answer: raise Failed(f'{self.contender}: {answer["error"]}')
        return answer['value']

    def call(self, method, **arguments):
        try: self.process.stdin.write(json.dumps(dict(method=method, arguments=arguments)).encode() + b'\n'); self.process.stdin.flush()
        except BrokenPipeError: raise Failed(f'{self.contender}: the process has ended: {self._words()}') from None
        return self._answer()

    def close(self):
        if self.process.poll() is None: self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log): stream.close()


class Pool:
    "The contenders of a row, started one after the other; one that fails is left out, and `failed` says why. A context manager."

    def __init__(self, contenders, *, cores=2, timeout=600, say=lambda text: None):
        self.workers, self.failed = {}, {}
        try:
            for name, (contender, config) in contenders.items():
                say(f'start {name}')
                try: self.workers[name] = Worker(contender, config, cores=cores, timeout=timeout)
                except Failed as error: self.failed[name] = str(error); say(f'{name} is out: {error}')
        except BaseException: self.close(); raise

    def __enter__(self): return self

    def __exit__(self, *error): self.close()

    def close(self):
        for worker in self.workers.values(): worker.close()

    info = property(lambda self: {name: worker.info for name, worker in self.workers.items()})

    def drop(self, name, why, say=lambda text: None):
        "Leaves a contender out from now on."
        self.failed[name] = str(why); say(f'{name} is out: {why}')
        self.workers.pop(name).close()

    def alternate(self, calls, rounds, *, say=lambda text: None, each_round=None):
        """{contender: seconds per round}: in every round each contender is called once, in the same order.

        calls: {label: (contender, method, arguments)}; the answer is seconds. each_round(k) runs after each. A contender that fails is left out from then on.
        """
        calls = {label: call for label, call in calls.items() if call[0] in self.workers}
        seconds = {label: [] for label in calls}
        for k in range(rounds):
            say(f'round {k + 1} of {rounds}')
            for label, (name, method, arguments) in list(calls.items()):
                time.sleep(PAUSE)
                try: seconds[label].append(self.workers[name].call(method, **arguments))
                except Failed as error:
                    self.drop(name, error, say)
                    for gone in [l for l, c in calls.items() if c[0] == name]: del calls[gone], seconds[gone]
            if each_round: each_round(k)
        return seconds
