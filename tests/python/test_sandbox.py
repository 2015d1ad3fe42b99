"""The bounds of the templates' sandbox: what would fill the memory, or compute for long within one step, is refused."""

import resource
import time

import pytest

from spectralkv.chat import format_chat

USER = [{"role": "user", "content": "hello"}]
ROOM = 1 << 30  # bytes beside what the process has: what is refused has not been made

MANY_SLICES = "{% set y = 'a' * 16000000 %}" + "".join(f"{{% set a{i} = y[1:] %}}" for i in range(400))
MANY_SUMS = "{% set y = 'a' * 16000000 %}" + "".join(f"{{% set a{i} = y ~ {i} %}}" for i in range(400))
MANY_LISTS = "{% set y = [1] * 60000 %}" + "".join(f"{{% set a{i} = y + y %}}" for i in range(400))

# Ways to add up a chat's text, in a loop over its messages.
SUMS = {
    "~": "{% set ns.x = ns.x ~ m.role ~ m.content %}",
    "+": "{% set ns.x = ns.x + m.role + m.content %}",
    "%": "{% set ns.x = '%s%s%s' % (ns.x, m.role, m.content) %}",
    "join": "{% set ns.x = [ns.x, m.role, m.content] | join %}",
    "a filter": "{% set ns.x = (ns.x ~ m.role ~ m.content) | trim %}",
    "a block": "{% set ns.x %}{{ ns.x }}{{ m.role }}{{ m.content }}{% endset %}",
    "a list": "{% set ns.y = ns.y + [m.role, m.content] %}",
}

# By what each would take. None of it is in one step of the template.
REFUSED = {
    "fields of format": "{% set x = ('{0}' * 3000).format('a' * 1000000) %}",
    "many fields of format": "{% set x = ('{0}' * 5000000).format('a') %}",
    "a width of format": "{% set x = '{:1000000000}'.format(1) %}",
    "a width in a field": "{% set x = '{:{}}'.format(1, '1000000000') %}",
    "an attribute in a field": "{% set ns = namespace(x='a' * 9000000) %}{% set x = ('{0.x}' * 3000).format(ns) %}",
    "keys of %": "{% set x = ('%(a)s' * 5000) % {'a': 'x' * 1000000} %}",
    "widths of %": "{% set x = ('%(a)99999d' * 5000) % {'a': 1} %}",
    "keys of format": "{% set x = ('%(a)s' * 5000) | format(a='x' * 1000000) %}",
    "indent": "{% set x = ('\\n' * 1000000) | indent(60000, true, true) %}",
    "indent with a text": "{% set x = ('\\u2028' * 1000000) | indent('ab' * 30000) %}",
    "replace by names": "{% set x = ('a' * 1000000) | replace(old='a', new='b' * 1000000) %}",
    "replace by a list": "{% set x = ('a' * 1000000) | replace('a', [1] * 60000) %}",
    "replace a number": "{% set x = ('1' * 1000000) | replace(1, 'b' * 1000000) %}",
    "join of a generator": "{% set x = ([1] * 60000) | map('string') | join('b' * 1000000) %}",
    "join of texts": "{% set x = ', '.join(range(60000) | map('replace', '1', 'b' * 10000)) %}",
    "wordwrap": "{% set x = ('a ' * 30000) | wordwrap(1, true, 'b' * 1000000) %}",
    "round down": "{% set x = 1 | round(100000000, 'floor') %}",
    "round to tens": "{% set x = 1 | round(precision=-60000) %}",
    "slices of a list": "{% set x = [1] | slice(1000000000) | list %}",
    "strip": "{% set x = ('a' * 8000000).strip('b' * 7999999 + 'a') %}",
    "trim": "{% set x = ('a' * 8000000) | trim('b' * 7999999 + 'a') %}",
    "rfind": "{% set x = ('a' * 8000000).rfind('ab' + 'a' * 4000000) %}",
    "a division": "{% set a = ('f' * 16000000) | int(0, 16) %}{% set x = a // (('f' * 8000000) | int(0, 16)) %}",
    "a difference": "{% set x = 0x" + "f" * 2000 + " - 1 %}",
    "a block that is set": "{% set y = 'a' * 10000000 %}{% set x %}{% for i in range(2000) %}{{ y }}{% endfor %}"
    "{% endset %}",
    "a macro": "{% set y = 'a' * 10000000 %}{% macro m() %}{% for i in range(2000) %}{{ y }}{% endfor %}{% endmacro %}"
    "{% set x = m() %}",
    "parts in namespaces": "{% set s = 'a' * 8000000 ~ 'b' ~ 'a' * 8000000 %}{% set ns = namespace(l=[]) %}"
    "{% for i in range(90) %}{% set ns.l = ns.l + [namespace(x=s.partition('b'))] %}{% endfor %}",
    "a namespace that holds others": "{% set ns = namespace(x=1) %}{% for i in range(27) %}"
    "{% set ns.x = namespace(a=[ns.x, ns.x]) %}{% endfor %}{% set x = ns.x ~ '' %}",
    "values of a dict": "{% set x = 'a' * 8000000 %}{% set v = {'a': x, 'b': x}.values() %}"
    "{% set x = ([v] * 60) | join %}",
    "slices of a text": MANY_SLICES,
    "sums of texts": MANY_SUMS,
    "sums of lists": MANY_LISTS,
    "a list that is doubled": "{% set ns = namespace(x=['a' * 99]) %}"
    "{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "lists to compare": "{% set ns = namespace(x=[[1] * 9000], y=[[1] * 9000]) %}{% for i in range(17) %}"
    "{% set ns.x = ns.x + ns.x %}{% set ns.y = ns.y + ns.y %}{% endfor %}{{ ns.x == ns.y }}",
    "a nest of arguments": "{% set ns = namespace(x=(1,)) %}{% macro m() %}{% set ns.x = varargs %}{% endmacro %}"
    "{% for i in range(100) %}{% for j in range(9000) %}{{ m(ns.x) }}{% endfor %}{% endfor %}{{ {ns.x: 1} }}",
    "parts of a text": "{% set x = ('ab ' * 5000000).split() %}",
    "lines of a text": "{% set x = ('ab\\n' * 5000000).splitlines() %}",
    "a sum of lists": "{% set x = ([[1] * 10] * 50000) | sum(start=[]) %}",
    "defaults": "{% set x = range(60000) | map(attribute='q', default='A' * 10000000) | sort %}",
    "a path of attributes": "{% set ns = namespace() %}{% set ns.a = ns %}"
    "{% set x = ([ns] * 60000) | map(attribute='a' ~ '.a' * 30000) | list %}",
    "words": "{% set x = ('a ' * 8000000) | title %}",
    "a date": "{% set x = strftime_now('%c' * 4000000) %}",
    "arguments": "{% set x = dict(*('a' * 16000000)) %}",
    "separators": "{% set x = 1 | tojson(separators='a' * 16000000) %}",
}


def refusal(source):
    with pytest.raises(ValueError, match=r"\[chat\] the model's chat template") as caught:
        format_chat(source, USER, True, "<s>", "</s>")
    return str(caught.value)


@pytest.fixture
def little_room():
    with open("/proc/self/statm", encoding="ascii") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("what", REFUSED)
def test_what_one_step_may_take(what, little_room):
    start = time.thread_time()
    words = refusal(REFUSED[what])
    assert time.thread_time() - start < 2
    assert "MemoryError" not in words and "fails" not in words


@pytest.mark.parametrize("way", SUMS)
def test_a_long_chat_adds_up(way, little_room):
    """1500 messages make 450 million characters on the way, of which little is held at a time."""
    messages = [{"role": "user", "content": f"{i} {'word ' * 80}."} for i in range(1500)]
    source = (
        "{% set ns = namespace(x='', y=[]) %}{% for m in messages %}"
        + SUMS[way]
        + "{% endfor %}{{ ns.x }}{{ ns.y | join }}"
    )
    assert format_chat(source, messages, True, "", "") == "".join(m["role"] + m["content"] for m in messages)


def test_a_long_chat_lends_a_hostile_template_little_time():
    messages = [{"role": "user", "content": "word " * 1_000_000}]
    start = time.thread_time()
    with pytest.raises(ValueError, match=r"computes for more than 1\.8 seconds"):
        format_chat(
            "{% for i in range(9999) %}{{ messages[0].content.count('x') }}{% endfor %}", messages, True, "", ""
        )
    assert time.thread_time() - start < 2.1


@pytest.mark.parametrize(
    "method",
    [
        "('a').encode('punycode')",
        "('a').translate({97: 'b'})",
        "('a').expandtabs(9)",
        "('a').maketrans('a', 'b')",
        "('{a}').format_map({'a': 1})",
        "('<a>' | escape).striptags()",
        "(1).to_bytes(9, 'big')",
        "(1).from_bytes([1])",
        "[1].append(1)",
        "{}.update({1: 2})",
        "dict.fromkeys([1])",
        "(messages | map('string')).throw(1)",
    ],
)
def test_methods_that_no_chat_needs(method):
    assert "unsafe" in refusal("{{ " + method + " }}")


@pytest.mark.parametrize("name", ["striptags", "urlize", "xmlattr"])
def test_filters_that_no_chat_needs(name):
    assert "No filter named" in refusal("{{ 'a' | " + name + " }}")


def test_words_of_an_error_are_cut():
    assert len(refusal("{{ raise_exception('a' * 1000000) }}")) < 2100
    assert len(refusal("{{ {}['a' * 1000000].b }}")) < 2100


def test_a_long_text_goes_through_what_templates_do_with_it():
    """Of a million words: none of the bounds is near what a chat needs."""
    source = (
        "{% macro body(m) %}{{ m.content.split('</think>')[-1].lstrip('\\n') | trim }}{% endmacro %}"
        "{% set words = messages[0]['content'] %}{% for m in messages[:1] %}{{ body(m) | length }} "
        "{{ (words | replace('x', 'y') ~ '').count('y') }} {{ (words.strip() + '.')[-3:] }} "
        "{{ '%s!' % words.upper().startswith('X') }} {{ words.rsplit('</think>', 1) | length }} "
        "{{ '{}, {:>3}'.format(words[:1], loop.index) }}{% endfor %}{% set block %}{{ words[0] }}{% endset %}"
        "{{ block }}"
    )
    messages = [{"role": "user", "content": "x yz\n" * 1_000_000}]
    text = format_chat(source, messages, True, "<s>", "</s>")
    assert text == "4999999 2000000 yz. True! 1 x,   1x"


def test_what_a_method_hands_again_is_held_once():
    """A message of a million characters, read by `get` 500 times: one text is held."""
    messages = [{"role": "user", "content": "word " * 200_000}] + [{"role": "user", "content": "a"}] * 499
    source = (
        "{% set ns = namespace(x=[]) %}{% for m in messages %}{% set ns.x = [messages[0].get('content')] %}{% endfor %}"
    )
    assert format_chat(source + "{{ ns.x[0] | length }}", messages, True, "", "") == "1000000"
