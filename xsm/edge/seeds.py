"""The images of VMs' cloud-init seeds on this host: made before a VM starts or arrives, removed when it is gone.

Decides when an image is made anew. They are made from the site file alone, alike on every host, so none is ever worth
keeping. Must not know what is on them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Collection
from pathlib import Path

from xsm.site.seed import Seed, image_path

PROGRAM = "xorriso"
MAKE_LIMIT_S = 20.0
"""It takes milliseconds; a file system that hangs must not hold the thread for ever."""
EPOCH_S = 315_532_800
"""1980, the date of all files in an image: what is in it depends on the seed alone."""
IMAGE = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.iso")
BEING_MADE = ".making-"


class Seeds:
    """Its calls block, and may come from several threads."""

    def __init__(self, folder: Path, program: str = PROGRAM) -> None:
        self._folder = folder
        self._program = program
        self._made: dict[str, Seed] = {}  # by UUID; of an earlier daemon's nothing is known
        self._swept: frozenset[str] | None = None
        self._turn = threading.Lock()

    def put(self, seed: Seed) -> str:
        """Have the image there, as `seed` says now. Why that failed, for people; "" when it is there."""
        with self._turn:
            image = Path(image_path(str(self._folder), seed.uuid))
            if self._made.get(seed.uuid) == seed and image.exists():
                return ""
            try:
                self._make(seed, image)
            except FileNotFoundError as error:
                if error.filename != self._program:
                    return f"its cloud-init seed can't be made: {error}"
                return f"its cloud-init seed can't be made: {PROGRAM} is not installed (apt-get install xorriso)"
            except subprocess.CalledProcessError as error:
                said = error.stderr.decode(errors="replace").strip().splitlines()
                return f"its cloud-init seed can't be made: {said[-1] if said else error}"
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"its cloud-init seed can't be made: {error}"
            self._made[seed.uuid] = seed
            self._swept = None
            return ""

    def sweep(self, uuids: Collection[str]) -> None:
        """Remove the images of all other VMs. Costs nothing while they are the same."""
        with self._turn:
            kept = frozenset(uuids)
            if kept == self._swept or not self._folder.is_dir():
                return
            for path in sorted(self._folder.iterdir()):
                image = IMAGE.fullmatch(path.name)
                if image and image[1] not in kept:
                    path.unlink(missing_ok=True)
                    self._made.pop(image[1], None)
                elif path.name.startswith(BEING_MADE):  # by a daemon that was killed over it
                    shutil.rmtree(path, ignore_errors=True)
            self._swept = kept

    def _make(self, seed: Seed, image: Path) -> None:
        """QEMU, which runs as a user of its own, gets the image from libvirt by its owner or group; others see nothing.

        Raises `OSError`, `CalledProcessError`, `TimeoutExpired`.
        """
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=BEING_MADE, dir=self._folder))
        try:
            content = work / "content"
            content.mkdir()
            for name, data in seed.files:
                (content / name).write_bytes(data)
            made = work / image.name
            subprocess.run(
                [
                    self._program, "-as", "mkisofs", "-quiet", "-volid", "CIDATA", "-joliet", "-rational-rock",
                    "-no-pad", "--set_all_file_dates", "1980010100000000", "-output", str(made), str(content),
                ],
                env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH_S), "TZ": "UTC"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=MAKE_LIMIT_S,
                check=True,
            )  # fmt: skip
            made.chmod(0o640)
            made.rename(image)  # a guest that has the old one open keeps that until its next start
        finally:
            shutil.rmtree(work, ignore_errors=True)
