"""The examples that stand below the help of each command; the first line of each keeps its line breaks."""

from __future__ import annotations

__all__ = [
    "BENCH_EXAMPLES",
    "CATALOGUE_EXAMPLES",
    "CONFIG_EXAMPLES",
    "DEMO_EXAMPLES",
    "DOCTOR_EXAMPLES",
    "EQUIPMENT_EXAMPLES",
    "GET_EXAMPLES",
    "INIT_EXAMPLES",
    "LOCKS_EXAMPLES",
    "LS_EXAMPLES",
    "MIGRATE_EXAMPLES",
    "PLUGINS_EXAMPLES",
    "PUT_EXAMPLES",
    "RM_EXAMPLES",
    "STAT_EXAMPLES",
    "SWEEP_EXAMPLES",
    "WATCH_EXAMPLES",
]

CATALOGUE_EXAMPLES = """\b
Examples:
  exlab-store catalogue publish answer.json /nas/.exlab-wizard/lims.json \\
      --endpoint https://lims.lab.example/api/v1
  exlab-store catalogue show /nas/.exlab-wizard/lims.json \\
      --endpoint https://lims.lab.example/api/v1
"""

EQUIPMENT_EXAMPLES = """\b
Examples:
  exlab-store equipment register CONFOCAL_01/.exlab-wizard/equipment.json \\
      --id CONFOCAL_01 --label 'Confocal Microscope 1' \\
      --local-root /data/lab --nas-root //nas01/lab
  exlab-store equipment show CONFOCAL_01/.exlab-wizard/equipment.json
"""

PLUGINS_EXAMPLES = """\b
Examples:
  exlab-store plugins
  exlab-store plugins --at /mnt/nas --at smb://nas01/lab
"""

CONFIG_EXAMPLES = """\b
Examples:
  exlab-store config show
  exlab-store --config lab.toml config check
  exlab-store config check @catalogue
"""

GET_EXAMPLES = """\b
Examples:
  exlab-store get @catalogue/CONFOCAL_01/equipment.json
  exlab-store get smb://nas01/lab/runs.json --output runs.json
  exlab-store get /nas/lab/runs.json --version
"""

PUT_EXAMPLES = """\b
Examples:
  exlab-store put /nas/lab/runs.json runs.json --expect absent
  version=$(exlab-store get /nas/lab/runs.json --version)
  exlab-store get /nas/lab/runs.json | sed s/old/new/ |
      exlab-store put /nas/lab/runs.json - --expect "$version"
"""

INIT_EXAMPLES = """\b
Examples:
  exlab-store init /data/lab
  exlab-store init postgresql://lab@db01/lab
"""

LS_EXAMPLES = """\b
Examples:
  exlab-store ls @catalogue
  exlab-store ls smb://nas01/lab/exlab -R --long
"""

STAT_EXAMPLES = """\b
Examples:
  exlab-store stat @catalogue/CONFOCAL_01/equipment.json
  exlab-store stat smb://nas01/lab/runs.json --json
"""

WATCH_EXAMPLES = """\b
Examples:
  exlab-store watch @catalogue --pattern '**/equipment.json'
  exlab-store watch smb://nas01/lab/exlab --existing --json
"""

RM_EXAMPLES = """\b
Examples:
  exlab-store rm /nas/lab/runs.json
  exlab-store rm /nas/lab/runs.json --expect "$version"
  exlab-store rm -r smb://nas01/lab/exlab/2019
"""

MIGRATE_EXAMPLES = """\b
Examples:
  exlab-store migrate /nas/lab smb://nas01/lab/exlab --create --dry-run
  exlab-store migrate /nas/lab smb://nas01/lab/exlab --create
  exlab-store migrate @old @new --delete-source
"""

LOCKS_EXAMPLES = """\b
Examples:
  exlab-store locks smb://nas01/lab/exlab --held
  exlab-store locks @catalogue/CONFOCAL_01 --json
"""

SWEEP_EXAMPLES = """\b
Examples:
  exlab-store sweep @catalogue
  exlab-store sweep @catalogue --delete
"""

DOCTOR_EXAMPLES = """\b
Examples:
  exlab-store doctor /mnt/nas
  exlab-store doctor @catalogue --report report.html
  exlab-store doctor /mnt/nas/exlab smb://nas01/lab/exlab
  exlab-store doctor smb://nas01/lab/exlab --only lock --only crash
  exlab-store doctor /mnt/nas/exlab --invite
  exlab-store doctor /mnt/nas/exlab --join 7KQF-2MXD-9TRA-H4WC
"""

BENCH_EXAMPLES = """\b
Examples:
  exlab-store bench /mnt/nas
  exlab-store bench @catalogue --seconds 5
  exlab-store bench smb://nas01/lab --json
"""

DEMO_EXAMPLES = """\b
Examples:
  exlab-store demo
  exlab-store demo --at /mnt/nas --seconds 30 --writers 8
"""
