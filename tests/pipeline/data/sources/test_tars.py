"""Members of archives, found by our own walk, beside Python's tarfile, which reads the same
archives."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.data.sources.tars import Member, members
from pipeline.system.errors import UserError

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\\\0", exclude_categories=["Cc"]),
                min_size=1, max_size=30).filter(lambda name: name not in (".", "..")
                                                and len(name.encode()) < 90)
CONTENTS = st.dictionaries(NAMES, st.binary(max_size=1300), max_size=5)
in_a_folder = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tar(contents: dict[str, bytes], form: int = tarfile.GNU_FORMAT, **of_header: object) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, content in contents.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            for key, value in of_header.items():
                setattr(header, key, value)
            archive.addfile(header, io.BytesIO(content))
    return stream.getvalue()


@in_a_folder
@given(inner=st.lists(CONTENTS, max_size=3),
       form=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT]))
def test_members_lie_where_tarfile_finds_them(tmp_path: Path, inner: list[dict[str, bytes]],
                                              form: int) -> None:
    file = tmp_path / "outer.tar"
    file.write_bytes(tar({f"{number}.tar": tar(contents, form)
                          for number, contents in enumerate(inner)}, form))
    whole = file.read_bytes()
    outer = list(members(file))
    with tarfile.open(file) as reference:
        assert [member.name for member in outer] == reference.getnames()
        for member in outer:
            stream = reference.extractfile(member.name)
            assert stream
            with tarfile.open(fileobj=stream) as inner_reference:
                found = [(one.name, whole[one.offset:one.offset + one.size])
                         for one in members(file, member)]
                assert found == [(name, inner_reference.extractfile(name)
                                  .read())  # type: ignore[union-attr]
                                 for name in inner_reference.getnames()]


@in_a_folder
@given(data=st.data())
def test_no_damage_to_a_header_goes_unseen(tmp_path: Path, data: st.DataObject) -> None:
    file = tmp_path / "a.tar"
    whole = bytearray(tar({"a": b"1" * 600, "b": b"2" * 10, "c": b""}))
    start = data.draw(st.sampled_from([member.offset - 512 for member in _written(file, whole)]))
    # not in the checksum
    bit = data.draw(st.integers(0, 500 * 8 - 1).filter(lambda bit: not 148 <= bit // 8 < 156))
    whole[start + bit // 8] ^= 1 << bit % 8
    with pytest.raises(UserError, match=r"a\.tar"):
        _written(file, whole)


@pytest.mark.parametrize("length",
                         [0, 511, 512, 1111, 1112, 1536, 1600, 2560, 2570, 3072, 3073, 3583])
def test_an_archive_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    # 512 + 1024, 512 + 512, 512; the end mark from 3072
    whole = tar({"a": b"1" * 600, "b": b"2" * 10, "c": b""})
    with pytest.raises(UserError, match="cut short"):
        _written(tmp_path / "a.tar", whole[:length])
    assert [member.name for member in _written(tmp_path / "a.tar", whole[:3584])] == ["a", "b", "c"]


def test_an_inner_archive_cannot_reach_beyond_itself(tmp_path: Path) -> None:
    inner = tar({"a": b"1" * 600})
    file = tmp_path / "outer.tar"
    file.write_bytes(tar({"x.tar": inner[:1024], "y.tar": inner}))
    x, y = members(file)
    with pytest.raises(UserError, match=r"outer\.tar: x\.tar: cut short: ends within a"):
        list(members(file, x))
    assert len(list(members(file, y))) == 1


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/b", "..", ".", "a\\b"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="is not the name"):
        _written(tmp_path / "a.tar", tar({name: b"1"}))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE,
                                  tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE,
                                  tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_only_plain_files_are_taken(tmp_path: Path, kind: bytes) -> None:
    with pytest.raises(UserError, match="not a plain file"):
        _written(tmp_path / "a.tar", tar({"a": b""}, type=kind, linkname="b"))


def _written(file: Path, content: bytes | bytearray) -> list[Member]:
    file.write_bytes(content)
    return list(members(file))


def test_with_folders_paths_are_taken_and_folders_passed_over(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, kind in (("./", tarfile.DIRTYPE),
                           ("./a", tarfile.DIRTYPE), ("./a/b.jpg", tarfile.REGTYPE),
                           ("c" * 60 + "/" + "d" * 35, tarfile.REGTYPE)):
            header = tarfile.TarInfo(name)
            header.type = kind
            archive.addfile(header)
    (tmp_path / "a.tar").write_bytes(stream.getvalue())
    assert ([one.name for one in members(tmp_path / "a.tar", folders=True)]
            == ["./a/b.jpg", "c" * 60 + "/" + "d" * 35])
    with pytest.raises(UserError):
        list(members(tmp_path / "a.tar"))


@pytest.mark.parametrize("name",
                         ["../evil", "/etc/passwd", "a/../b", "a//b", "a/./b", "..", "a\\b"])
def test_paths_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.tar").write_bytes(tar({name: b"1"}))
    with pytest.raises(UserError, match="leads out of its folder"):
        list(members(tmp_path / "a.tar", folders=True))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE,
                                  tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE])
def test_with_folders_too_only_plain_files_are_taken(tmp_path: Path, kind: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(tar({"a": b""}, type=kind, linkname="b"))
    with pytest.raises(UserError, match="not a plain file"):
        list(members(tmp_path / "a.tar", folders=True))
