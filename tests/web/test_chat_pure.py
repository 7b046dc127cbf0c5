"""What the chat page computes: trees of messages, files of conversations, links with settings, typed parameters."""

from __future__ import annotations

import json

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TREE = """
const { askedOf, branchedTo, branches, fresh, holds, leadingTo, merged, shown, withChange, withMessage, withSettings,
  withTitle } = await import("/web/lib/conversation.js");
const { readFile, writeJson, writeMarkdown } = await import("/web/lib/conversation_files.js");
const { linkOf, settingsOf, withoutSettings } = await import("/web/lib/settings_link.js");
const { refusalOf } = await import("/web/lib/http.js");
const { readParameter, readStops, writeStops, PARAMETERS } = await import("/web/lib/parameters.js");

const user = (id, parent, text, more = {}) => ({ id, parent, role: "user", at: Number(id.slice(1)), text, ...more });
const model = (id, parent, text, more = {}) => (
  { id, parent, role: "assistant", at: Number(id.slice(1)), text, model: "m", state: "done", ...more });
const build = (...messages) => messages.reduce(withMessage, fresh({ id: "c1", at: 0, model: "m", system: "be" }));
// Two questions; the first has two answers, the second of which is shown.
const tree = build(user("q1", "", "one"), model("a2", "q1", "first"), model("a3", "q1", "second"), user("q4", "a3", "two"));
const texts = (conversation) => shown(conversation).map((message) => message.text);
let ids = 0;
const newId = () => `n${++ids}`;
const read = (text) => readFile(text, newId, 99);
// What a file keeps of a conversation.
const sound = (one) => read(writeJson([one], 5))[0];
const parameter = (name) => PARAMETERS.find((one) => one.name === name);
"""


@pytest.fixture(scope="module")
def compute(browser, server):
    """compute(expression): its value in the page, with all of TREE at hand."""
    page = browser.new_page()
    page.goto(server.url)
    yield lambda expression: page.evaluate(f"async () => {{ {TREE} return ({expression}); }}")
    page.close()


CASES = {
    "the last branch is shown": ("texts(tree)", ["one", "second", "two"]),
    "another branch": ('texts(branchedTo(tree, "a2"))', ["one", "first"]),
    "and back, as it was": ('texts(branchedTo(branchedTo(tree, "a2"), "a3"))', ["one", "second", "two"]),
    "branches stand in the order they came": (
        'branches(tree).get("q1").map((one) => one.id)',
        ["a2", "a3"],
    ),
    "the way to a message": ('leadingTo(tree, "a2").map((one) => one.id)', ["q1", "a2"]),
    "a change of one leaves the others the very same": (
        '(() => { const next = withChange(tree, "a2", {text: "x"}, 9); '
        "return [next.messages.a3 === tree.messages.a3, next.messages.a2.text, tree.messages.a2.text]; })()",
        [True, "x", "first"],
    ),
    "what is asked": (
        'askedOf(tree, "q4")',
        [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "second"},
            {"role": "user", "content": "two"},
        ],
    ),
    "an answer without a text joins the questions around it": (
        'askedOf(build(user("q1", "", "one"), model("a2", "q1", "", {state: "failed"}), user("q3", "a2", "two")), "q3")',
        [{"role": "user", "content": "one\n\ntwo"}],
    ),
    "images are parts": (
        'askedOf(build(user("q1", "", "what", {images: [{url: "data:image/png;base64,AA==", name: "a.png"}]})), "q1")',
        [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                    {"type": "text", "text": "what"},
                ],
            }
        ],
    ),
    "images are names to a model that takes none": (
        'askedOf(build(user("q1", "", "what", {images: [{url: "data:image/png;base64,AA==", name: "a.png"}]})), "q1", '
        "{images: false})",
        [{"role": "user", "content": "[a.png]\nwhat"}],
    ),
    "a title is the begin of the first question": (
        '[tree.title, build(user("q1", "", "  many   words ".repeat(20))).title.length < 65, '
        'build(user("q1", "", "", {images: [{url: "", name: "cat.png"}]})).title]',
        ["one", True, "cat.png"],
    ),
    "a title of its reader's stays": (
        '[withMessage(withTitle(tree, " mine ", 5), user("q9", "", "other")).title, withTitle(tree, " ", 5).title]',
        ["mine", "one"],
    ),
    "search is in titles, all branches, for all words": (
        '[["first"], ["FIRST".toLowerCase(), "two"], ["first", "three"]].map((words) => holds(tree, words))',
        [True, True, False],
    ),
    "merging nothing new gives the very same": ("merged(tree, structuredClone(tree)) === tree", True),
    "merging unites messages, the later version of each": (
        "(() => { const theirs = withChange(withMessage(tree, model('a5', 'q4', 'theirs')), 'a2', {text: 'late'}, 50); "
        "const ours = withMessage(tree, model('a6', 'q4', 'ours')); const both = merged(ours, theirs); "
        "return [texts(both), both.messages.a5.text, both.messages.a2.text, merged(both, ours) === both]; })()",
        [["one", "second", "two", "ours"], "theirs", "late", True],
    ),
    "merging takes later settings and titles": (
        "(() => { const theirs = withTitle(withSettings(tree, {model: 'n'}, 70), 'theirs', 70); "
        "const both = merged(withSettings(tree, {model: 'o'}, 60), theirs); return [both.model, both.title]; })()",
        ["n", "theirs"],
    ),
    "JSON can be read again": (
        "[texts(sound(tree)), sound(tree).title, JSON.stringify(sound(sound(tree))) === JSON.stringify(sound(tree))]",
        [["one", "second", "two"], "one", True],
    ),
    "JSON brings no running answer and no strange field": (
        "(() => { const file = JSON.parse(writeJson([build(user('q1', '', 'x'), model('a2', 'q1', 'y', {state: 'waiting', "
        "evil: 1}))], 5)); const back = read(JSON.stringify(file))[0].messages.a2; return [back.state, 'evil' in back]; })()",
        ["stopped", False],
    ),
    "JSON tells how and when it was asked": (
        "(() => { const asked = {system: 's', template: 't', parameters: {top_p: 1}}; "
        "const one = model('a2', 'q1', 'y', {state: 'done', start: 5, ended: 7, settings: asked}); "
        "const back = sound(build(user('q1', '', 'x'), one)).messages.a2; return [back.start, back.ended, back.settings]; })()",
        [5, 7, {"system": "s", "template": "t", "parameters": {"top_p": 1}}],
    ),
    "Markdown can be read again": (
        "(() => { const text = 'a\\n<!-- trunkcall user {} -->\\n\\\\<!-- trunkcall user {} -->\\n## You\\n\\nb -- c'; "
        "const one = build(user('q1', '', text), model('a2', 'q1', '# Heading\\n\\nend')); "
        "const [a, b] = read(writeMarkdown([one, withTitle(tree, 'Second -- title', 4)])); "
        "return [texts(a)[0] === text, texts(a)[1], texts(b), b.title, b.system, b.messages[b.chosen['']].role]; })()",
        [True, "# Heading\n\nend", ["one", "second", "two"], "Second -- title", "be", "user"],
    ),
    "a link brings settings and nothing else": (
        "linkOf({model: 'a b', system: 'be', template: '', parameters: {temperature: 0.2, stop: ['x', 'y'], evil: 1}}, "
        "{origin: 'http://h', pathname: '/'})",
        "http://h/?model=a+b&system=be&temperature=0.2&stop=x&stop=y#/chat",
    ),
    "a link is read": (
        "settingsOf(new URLSearchParams('model=m&temperature=0.2&top_k=5&stop=x&stop=y&seed=1.5&top_p=7&other=1'))",
        {
            "settings": {"model": "m", "parameters": {"temperature": 0.2, "top_k": 5, "stop": ["x", "y"]}},
            "wrong": ["top_p", "seed"],
            "found": True,
        },
    ),
    "a query without settings": (
        "String(withoutSettings(new URLSearchParams('model=m&models=a,b&stop=x')))",
        "models=a%2Cb",
    ),
    "typed parameters": (
        "[['temperature', '0,7'], ['temperature', ''], ['temperature', '3'], ['temperature', 'x'], ['max_tokens', '1.5'], "
        "['max_tokens', '99999'], ['max_tokens', '0']].map(([name, text]) => readParameter(parameter(name), text))",
        [
            {"value": 0.7},
            {"value": None},
            {"problem": "range"},
            {"problem": "number"},
            {"problem": "whole"},
            {"value": 99999},
            {"problem": "range"},
        ],
    ),
    "stops as they are written": (
        "(() => { const stops = ['\\n\\n', 'a\\\\n', '\\tb']; return [writeStops(stops), readStops(writeStops(stops) + '\\n')]; })()",
        ["\\n\\n\na\\\\n\n\\tb", ["\n\n", "a\\n", "\tb"]],
    ),
}


@pytest.mark.parametrize(("expression", "expected"), CASES.values(), ids=CASES)
def test_computed(compute, expression, expected):
    assert compute(expression) == expected


JUNK = {
    "nothing": ("", "no export"),
    "text": ("hello", "no export"),
    "markdown of others": ("# Title\n\ntext", "no export"),
    "broken JSON": ("{", "begins like JSON"),
    "JSON of others": ('{"a": 1}', "no export"),
    "of later": (json.dumps({"format": "trunkcall.conversations", "version": 7, "conversations": []}), "version 7"),
    "empty": (json.dumps({"format": "trunkcall.conversations", "version": 1, "conversations": []}), "no chats"),
    "broken marks": ('<!-- trunkcall conversation {"version":1,} -->\n', "damaged at conversation"),
    "a message without a chat": ('<!-- trunkcall user {"at":1} -->\n\n## You\n\nx', "damaged at user"),
}
Q, A = (
    {"id": "q", "parent": "", "role": "user", "text": "x"},
    {"id": "a", "parent": "q", "role": "assistant", "text": "x"},
)
DAMAGED = {
    "no object": 5,
    "id of nothing": {"messages": []},
    "id of a prototype": {"id": "__proto__", "messages": []},
    "no messages": {"id": "c"},
    "message without a text": {"id": "c", "messages": [{**Q, "text": 5}]},
    "message without a role": {"id": "c", "messages": [{**Q, "role": "system"}]},
    "message twice": {"id": "c", "messages": [Q, Q]},
    "a parent that is not there": {"id": "c", "messages": [A]},
    "a parent of every object": {"id": "c", "messages": [{**A, "parent": "constructor"}]},
    "a ring": {"id": "c", "messages": [{**A, "parent": "b"}, {**A, "id": "b", "parent": "a"}]},
    "an image elsewhere": {"id": "c", "messages": [{**Q, "images": [{"url": "http://evil/x.png"}]}]},
    "an image that is a script": {
        "id": "c",
        "messages": [{**Q, "images": [{"url": "data:image/svg+xml;base64,AA=="}]}],
    },
}


@pytest.mark.parametrize(("text", "why"), JUNK.values(), ids=JUNK)
def test_junk_is_refused_with_its_reason(compute, text, why):
    assert why in compute(f"(() => {{ try {{ read({json.dumps(text)}); }} catch (e) {{ return e.message; }} }})()")


@pytest.mark.parametrize("one", DAMAGED.values(), ids=DAMAGED)
def test_damaged_chats_are_refused(compute, one):
    sound = {"id": "ok", "messages": [Q, A]}
    text = json.dumps({"format": "trunkcall.conversations", "version": 1, "conversations": [sound, one]})
    said = compute(f"(() => {{ try {{ read({json.dumps(text)}); }} catch (e) {{ return e.message; }} }})()")
    assert "chat number 2 is damaged" in said


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no such model", "kind": "no_model"}},
        {"error": {"message": "no such model", "code": "no_model"}},
        {"detail": {"error": {"message": "no such model", "code": "no_model"}}},
        {"object": "error", "message": "no such model", "code": "no_model"},
    ],
    ids=["ours", "openai", "fastchat's keys", "fastchat"],
)
def test_a_refusal_is_told_in_whose_words_ever_it_came(compute, body):
    refused = f"refusalOf(new Response({json.dumps(json.dumps(body))}, {{status: 404}}))"
    assert compute(f"{refused}.then((one) => [one.message, one.kind])") == ["no such model", "no_model"]
