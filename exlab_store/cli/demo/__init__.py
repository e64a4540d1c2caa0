"""The command ``exlab-store demo``: processes that write and read the same documents, and a count of what went wrong.

The parts, from the values to the whole: `marked` makes documents in which any mixture shows, `timings` measures,
`messages` is what the processes tell each other, `worker` is one process, `crew` all of them, `verdict` counts what
was torn and lost, `stage` makes the demo's folder, `documents` names the documents in it, `projects` the rows of its
catalogue, `printing` what people see, and `command` puts them together.
"""

from __future__ import annotations
