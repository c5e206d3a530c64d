"""Which fonts text is measured with."""

from dlbench.reports.charts.drawing import fonts


def test_the_systems_fonts_are_read_but_for_those_that_the_renderer_has_itself(
    tmp_path, monkeypatch
):
    files = (
        "truetype/liberation/LiberationSans-Regular.ttf",
        "truetype/noto/NotoSansCJK-Regular.TTC",
        "opentype/a/b.otf",
        "other/readme.txt",
    )
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(fonts, "_ROOTS", (str(tmp_path), str(tmp_path / "none")))
    there = [str(tmp_path / name) for name in ("opentype/a", "truetype/noto")]
    assert there == list(fonts._folders())


def test_drawing_leaves_the_environment_as_it_was(monkeypatch):
    monkeypatch.delenv("FONTCONFIG_FILE", raising=False)
    fonts.read_fonts.cache_clear()
    fonts.read_fonts()
    assert "FONTCONFIG_FILE" not in fonts.os.environ
