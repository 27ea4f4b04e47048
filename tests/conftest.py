"""What most tests stand on: the real encoder, a folder of indexes of their own, and a small handbook to index."""

import os
from pathlib import Path

import pytest

from rag_service.catalog import Catalog
from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.settings import Settings, load_settings
from rag_service.wiring.encoders import export_encoder, find_encoder

PROJECT = Path(__file__).resolve().parents[1]
SHARED_DATA = PROJECT.parent / "shared" / "data"


@pytest.fixture(autouse=True, scope="session")
def _settings_of_the_shell_do_not_count() -> None:
    """A developer's RAG_* variables must not change what tests see; RAG_INDEXES may say where the encoder is."""
    for variable in [name for name in os.environ if name.startswith("RAG_") and name != "RAG_INDEXES"]:
        del os.environ[variable]


@pytest.fixture(scope="session")
def encoder_folder() -> Path:
    """The default encoder, as `make encoder` exports it; exported here if nobody did."""
    root = Path(os.environ.pop("RAG_INDEXES", "") or PROJECT / "indexes")
    settings = load_settings({}, indexes=root)
    catalog = Catalog(root)
    return find_encoder(settings, catalog) or export_encoder(settings, catalog)[1]


@pytest.fixture(scope="session")
def embedder(encoder_folder: Path) -> OnnxEmbedder:
    return OnnxEmbedder.open(encoder_folder)


@pytest.fixture
def indexes(tmp_path: Path, encoder_folder: Path) -> Path:
    """A folder of indexes that holds the default encoder and nothing else."""
    root = tmp_path / "indexes"
    root.mkdir()
    (root / "encoders").symlink_to(encoder_folder.parent)
    return root


@pytest.fixture
def settings(indexes: Path) -> Settings:
    return load_settings({}, indexes=indexes, name="handbook")


@pytest.fixture(scope="session")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three Markdown pages, a text and a CSV: enough to retrieve, cite and abstain on."""
    folder = tmp_path_factory.mktemp("handbook")
    (folder / "leave.md").write_text(
        "# Leave\n\n## Holidays\n\nEvery employee has 28 days of paid holiday a year. Unused days expire on 31 March.\n\n"
        "## Sick leave\n\nReport sickness to your manager before 9 o'clock. A doctor's note is needed from the third day.\n"
    )
    (folder / "travel.md").write_text(
        "# Travel\n\n## Trains\n\nBook second class. First class is allowed on journeys of more than four hours.\n\n"
        "## Expenses\n\nSend receipts to the finance office within 30 days:\n\n- scan each receipt\n- name the cost centre\n- press Submit\n"
    )
    (folder / "security").mkdir()
    (folder / "security" / "passwords.md").write_text(
        "# Passwords\n\nA password has at least 14 characters. Change it when you suspect that somebody else knows it.\n\n"
        "```bash\npasswd --expire $USER\n```\n"
    )
    (folder / "visitors.txt").write_text("Visitors sign the book at reception.\n\nThey wear a yellow badge at all times.\n")
    (folder / "rooms.csv").write_text("id,room,seats\nr1,Curie,12\nr2,Noether,4\n")
    return folder
