"""corekit-train where the system refuses to write files of over 2 MB, as a full disk refuses
all.
"""

import resource

from corekit.cli import train


def main() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    train.main()
