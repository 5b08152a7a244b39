"""What is packed: a wheel can be built from the source distribution, and has what a service and its monitoring need."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "packaging" / "wheel"
SHARED = (
    "docs/examples/twoway-reflector.service",
    "docs/examples/twoway.yaml",
    "docs/mib/TWOWAY-ROUTE-MIB.txt",
    "monitoring/alerting.rules.yml",
    "monitoring/dashboard.json",
    "monitoring/prometheus.yml",
    "monitoring/recording.rules.yml",
)


def test_the_source_distribution_has_all_that_a_wheel_is_made_of(tmp_path: Path) -> None:
    maturin = Path(sys.executable).with_name("maturin")
    subprocess.run([maturin, "sdist", "--out", tmp_path], cwd=ROOT, check=True, capture_output=True)
    (packed,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    wanted = sorted(file.relative_to(ROOT) for file in DATA.rglob("*") if file.is_file())
    assert [file for file in wanted if not (unpacked / file).is_file()] == []
    assert [file for file in wanted if (unpacked / file).read_bytes() != (ROOT / file).read_bytes()] == []


def test_a_wheel_has_rules_dashboard_mib_units_and_the_sample() -> None:
    shared = DATA / "data" / "share" / "twoway"
    assert {file.name: file.resolve() for file in shared.iterdir()} == {Path(file).name: ROOT / file for file in SHARED}
