"""What it takes to make an old answer again: its release, opened from what is on the disk, or the name of what is not."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.deployment import Deployment
from rag_service.digests import short_id
from rag_service.errors import RagError
from rag_service.manifest import read_manifest
from rag_service.opened import Opened
from rag_service.prompt import load_template
from rag_service.record import Lineage
from rag_service.release import Release
from rag_service.replay import Missing
from rag_service.settings import Settings
from rag_service.wiring.encoders import Encoders
from rag_service.wiring.releases import open_release

_PART_OF_CHECK = {"manifest": "index", "encoder": "encoder", "index": "index", "canary": "encoder", "generator": "generator"}
_MOST_OPEN = 2


class Artefacts:
    """Opens the releases of records, and keeps the last few open. What a record says of its release is enough: its file may be gone."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        deployment: Deployment,
        *,
        active: Callable[[], Pipeline | None] = lambda: None,
        encoders: Encoders | None = None,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._deployment = deployment
        self._active = active
        self._encoders = encoders or Encoders(settings, catalog)
        self._opened: OrderedDict[tuple[str, str], Opened] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, lineage: Lineage) -> Opened | Missing:
        """The release, with the code that runs here."""
        active = self._active()
        if active is not None and (active.lineage.release, active.lineage.index) == (lineage.release, lineage.index):
            return Opened(active, ())
        key = (lineage.index.name, lineage.release.digest)
        with self._lock:  # one at a time: each takes as much memory as the index that it opens
            found: Opened | Missing | None = self._opened.get(key)
            if found is None:
                found = self._open(lineage)
            if isinstance(found, Opened):
                self._opened[key] = found
                self._opened.move_to_end(key)
                while len(self._opened) > _MOST_OPEN:
                    self._opened.popitem(last=False)
        return found

    def missing(self, lineage: Lineage) -> Missing | None:
        """What is gone, as far as a look at the disk shows: nothing is hashed or loaded."""
        release, name = lineage.release, lineage.index.name
        try:
            manifest = read_manifest(self._catalog.version_folder(name, release.index.version))
        except RagError as error:
            return Missing("index", f"index version {release.index.version} of {name}: {error.message}")
        if manifest.digest != release.index.digest:
            return Missing("index", f"index version {release.index.version} of {name} is another than it was")
        encoder = manifest.encoder
        if encoder.embedder == "onnx" and not self._catalog.encoder_folder(short_id(encoder.digest)).is_dir():
            return Missing("encoder", f"the encoder {encoder.name} ({short_id(encoder.digest)}) is not there")
        return _missing_prompt(release) or _missing_model(release)

    def _open(self, lineage: Lineage) -> Opened | Missing:
        failed = ["index"]

        def report(check: str, state: str) -> None:
            if state == "failed":
                failed.append(_PART_OF_CHECK[check])

        gone = _missing_prompt(lineage.release)
        if gone is not None:
            return gone
        try:
            return open_release(
                self._settings,
                self._catalog,
                lineage.index.name,
                lineage.release,
                deployment=self._deployment,
                report=report,
                encoders=self._encoders,
            )
        except RagError as error:
            return Missing(failed[-1], error.message)


def _missing_prompt(release: Release) -> Missing | None:
    reference = f"{release.prompt.name}/{release.prompt.version}"
    try:
        template = load_template(reference)
    except RagError as error:
        return Missing("prompt", error.message)
    return None if template.digest == release.prompt.digest else Missing("prompt", f"prompt {reference} is another than it was")


def _missing_model(release: Release) -> Missing | None:
    provider, _, path = release.generator.spec.partition(":")
    if provider == "llamacpp" and not Path(path).is_file():
        return Missing("generator", f"the model file {Path(path).name} is not there")
    return None
