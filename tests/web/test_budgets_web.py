"""Users whose keys have budgets: what they see of them, and what they are told when nothing is left."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from web.chats import ask

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_a_budget_is_seen_and_its_end_is_said(visit, closed):
    authorization = f"Bearer {closed.secrets['boss']}"
    wanted = {"name": "thrifty", "role": "user", "models": ["echo"], "tokens_per_day": 1000, "requests_per_minute": 1}
    secret = closed.server.post("/admin/keys", wanted, authorization=authorization)[2]["secret"]
    page = visit("chat", at=closed.server.url, secret=secret, allow=("status of 429",))
    for question in ("one two three", "four five six"):
        ask(page, question)
    refusal = page.get_by_role("article").last.get_by_role("alert")
    expect(refusal).to_contain_text("the key 'thrifty' may")
    expect(refusal).to_contain_text(re.compile(r"It may work again in [\d.]+ (s|min|h)\b"))
    page.get_by_role("link", name="Your use").click()
    expect(page.get_by_role("main")).to_contain_text("6 of 1,000")
    expect(page.get_by_role("main")).to_contain_text("994 left")
