"""The command ``exlab-store demo``: processes that write and read the same documents, and a count of what went wrong.

The parts, from the values to the whole: `marked` makes documents in which any mixture shows, `timings` measures,
`worker` is one process, `report` what it has done, `crew` all of them, `verdict` counts what was torn and lost,
`folder` makes the demo's folder, `documents` names the documents in it, `projects` the rows of its catalogue,
`printing` what people see, and `command` puts them together.
"""

from __future__ import annotations
