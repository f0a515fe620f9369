"""Projects, one folder a paper; those in other folders are imported below this name too."""

import sys

from corekit.projects import ProjectFinder

# first: a project in ./projects may stand in for an installed one
sys.meta_path.insert(0, ProjectFinder)
