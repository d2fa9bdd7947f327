"""Rule 10: module state and heap types; no static mutable state but the keeper's."""

from __future__ import annotations

import sys

import pytest
from support.scripts import Script

pytestmark = pytest.mark.rule(10)

SUBINTERPRETERS = """
try:
    import _interpreters as interpreters  # 3.13
    create = lambda: interpreters.create('legacy')
except ImportError:
    import _xxsubinterpreters as interpreters
    create = lambda: interpreters.create(isolated=False)
"""

USE = """
connection = pika.BlockingConnection(pika.URLParameters({url!r}))
channel = connection.channel()
queue = channel.queue_declare('', exclusive=True).method.queue
channel.basic_publish('', queue, b'x', pika.BasicProperties(headers={{'a': 1}}))
method, properties, body = channel.basic_get(queue, auto_ack=True)
assert (properties.headers, body) == ({{'a': 1}}, b'x')
connection.close()
"""


def test_every_type_of_the_core_is_a_heap_type() -> None:
    heap_type = 1 << 9  # Py_TPFLAGS_HEAPTYPE
    import cpika._core as core

    types = [value for value in vars(core).values() if isinstance(value, type)]
    assert types
    assert [kind for kind in types if not kind.__flags__ & heap_type] == []


def test_two_interpreters_use_the_library_one_after_the_other_and_beside_each_other(broker_url: str) -> None:
    """What one interpreter made must not be found, or freed, by another."""
    use = USE.format(url=broker_url)
    code = f"""
import sys
{SUBINTERPRETERS}
use = 'import sys; sys.path[:] = ' + repr(sys.path) + '; from support.subject import pika' + {use!r}
exec({use!r})
for _ in range(2):
    other = create()
    interpreters.run_string(other, use)
    exec({use!r})
    interpreters.destroy(other)
exec({use!r})
print('done')
"""
    with Script(code) as script:
        script.expect("done", timeout=40)
        assert script.finish() == 0


def test_an_interpreter_that_nobody_ends_does_not_keep_the_process_from_its_end(broker_url: str) -> None:
    """CPython ends a thread that wants the GIL back by then, even the main one: no warning is written."""
    use = f"""
import warnings
warnings.simplefilter('always')
connection = pika.BlockingConnection(pika.URLParameters({broker_url!r}))
"""
    code = f"""
{SUBINTERPRETERS}
use = 'import sys; sys.path[:] = ' + repr(sys.path) + '; from support.subject import pika' + {use!r}
other = create()
interpreters.run_string(other, use)
print('done')
"""
    with Script(code) as script:
        script.expect("done", timeout=40)
        assert script.finish() == 0


def test_the_module_can_be_imported_anew(broker_url: str) -> None:
    """Multi-phase initialisation: a second import makes a second module with types of its own."""
    use = USE.format(url=broker_url)
    code = f"""
import importlib
import cpika._core as first
pika = first_pika = sys.modules['cpika']
exec({use!r})
for name in [name for name in sys.modules if name.partition('.')[0] == 'cpika']:
    del sys.modules[name]
pika = importlib.import_module('cpika')
import cpika._core as second
print(first is second, first_pika.BasicProperties is pika.BasicProperties)
exec({use!r})
pika = first_pika
exec({use!r})
print('done')
"""
    with Script(code) as script:
        script.expect("False False")
        script.expect("done")
        assert script.finish() == 0


@pytest.mark.skipif(sys.version_info < (3, 13), reason="the standard library does not load there before 3.13")
def test_interpreters_with_locks_of_their_own_use_the_library_at_the_same_time(broker_url: str) -> None:
    """As pika can be used there."""
    code = f"""
import _interpreters as interpreters, sys, threading
use = 'import sys; sys.path[:] = ' + repr(sys.path) + '; from support.subject import pika'
use += {USE.format(url=broker_url.replace("127.0.0.1", "localhost"))!r}  # looked up in a thread
def run():
    other = interpreters.create('isolated')
    for _ in range(3):
        problem = interpreters.run_string(other, use)
        if problem is not None:
            print(problem)
    interpreters.destroy(other)
threads = [threading.Thread(target=run) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print('done')
"""
    with Script(code) as script:
        script.expect("done")
        assert script.finish() == 0
