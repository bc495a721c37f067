"""Migrations are applied once, in order, and never changed."""

from pganalytics.sink.migrations import Migration, packaged, pending, problems

ONE, TWO = Migration(1, "0001_a.sql", "select 1"), Migration(2, "0002_b.sql", "select 2")


def applied(*done: Migration) -> dict[int, tuple[str, str]]:
    return {each.number: (each.name, each.checksum) for each in done}


def test_the_package_numbers_its_files_without_holes() -> None:
    assert [each.number for each in packaged()] == list(range(1, len(packaged()) + 1))


def test_only_what_is_absent_is_pending() -> None:
    assert pending([ONE, TWO], applied(ONE)) == [TWO]
    assert pending([ONE, TWO], applied(ONE, TWO)) == []


def test_a_store_of_ours_has_no_problems() -> None:
    assert problems([ONE, TWO], applied(ONE)) == []


def test_a_changed_file_is_refused_by_name() -> None:
    changed = Migration(1, "0001_a.sql", "select 1 -- changed")
    (problem,) = problems([changed, TWO], applied(ONE))
    assert "0001_a.sql" in problem


def test_a_store_of_a_later_version_is_refused() -> None:
    (problem,) = problems([ONE], applied(ONE, TWO))
    assert "later version" in problem
