"""Upload journals."""

from __future__ import annotations

from pathlib import Path

from skep.client.journal import Begun, Journal
from skep.client.trees import Sent


def test_what_was_recorded_is_there_at_the_next_run(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "hive", "ann", "/src", "/dst")
    journal.record([("/dst/a", Sent(1, 2, "e")), ("/dst/ü", Sent(3, 4, "f"))])
    journal.record([("/dst/a", Sent(9, 9, "g"))])
    journal.close()
    again = Journal(tmp_path, "hive", "ann", "/src", "/dst")
    assert again.sent == {"/dst/a": Sent(9, 9, "g"), "/dst/ü": Sent(3, 4, "f")}
    again.close()


def test_other_scopes_have_other_journals(tmp_path: Path) -> None:
    first = Journal(tmp_path, "hive", "ann", "/src", "/dst")
    first.record([("/dst/a", Sent(1, 2, "e"))])
    first.close()
    for scope in (("hive", "bob", "/src", "/dst"), ("hive", "ann", "/src", "/dst2")):
        other = Journal(tmp_path, *scope)
        assert other.sent == {}
        other.close()


def test_torn_and_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "x")
    journal.record([("/a", Sent(1, 2, "e"))])
    journal.close()
    [path] = tmp_path.glob("*.jsonl")
    path.write_text(path.read_text() + '{"a": 1}\n[1, 2]\n["/b", 1, 2')
    again = Journal(tmp_path, "x")
    assert again.sent == {"/a": Sent(1, 2, "e")}
    again.close()
    assert path.read_text().count("\n") == 1, "opening rewrites the journal compactly"


def test_what_was_begun_is_there_until_it_was_sent(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "x")
    journal.begin("/a", Begun(5, 6, "/tus/1"))
    journal.begin("/b", Begun(7, 8, "/tus/2"))
    journal.begin("/a", Begun(5, 6, "/tus/3"))
    journal.record([("/b", Sent(7, 8, "e"))])
    assert journal.begun == {"/a": Begun(5, 6, "/tus/3")}
    journal.close()
    for _ in range(2):
        again = Journal(tmp_path, "x")
        assert again.begun == {"/a": Begun(5, 6, "/tus/3")}
        assert again.sent == {"/b": Sent(7, 8, "e")}
        again.close()
