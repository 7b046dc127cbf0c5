"""News reaches those who listen, and nobody else."""

from __future__ import annotations

from typing import Any

from trunkcall.control.news import News


def test_each_listener_hears_until_it_leaves_also_when_it_does_so_meanwhile() -> None:
    news = News()
    heard: list[tuple[str, Any]] = []

    def once(kind: str, about: Any) -> None:
        heard.append(("once", about))
        leave()

    leave = news.listen(once)
    news.listen(lambda kind, about: heard.append((kind, about)))
    news.tell("model", 1)
    news.tell("key", 2)
    assert heard == [("once", 1), ("model", 1), ("key", 2)]
    leave()
    assert news.wanted
