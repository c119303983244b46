"""The tables of the ledger (SQLAlchemy Core).

Instants are seconds since 1970 (`node.clock`). UIDs are kept, names and birth dates are not:
of the Patient ID only a digest.
"""

from __future__ import annotations

import sqlalchemy as sa

SCHEMA_VERSION = "0003"
"""The latest revision in `node.ledger_versions`."""

metadata = sa.MetaData()

version = sa.Table(
    "alembic_version",
    metadata,
    sa.Column("version_num", sa.String(32), primary_key=True),
)
"""The revision of the ledger, in the table where Alembic keeps it."""

study = sa.Table(
    "study",
    metadata,
    sa.Column("study_uid", sa.String, primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("key", sa.String, nullable=False, index=True),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("reason", sa.String, nullable=False, default=""),
    sa.Column("peer", sa.String, nullable=False),
    sa.Column("first_at", sa.Float, nullable=False),
    sa.Column("last_at", sa.Float, nullable=False),
    sa.Column("ready_at", sa.Float),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("lease_owner", sa.String),
    sa.Column("lease_until", sa.Float),
    sa.Column("priority", sa.Integer, nullable=False, default=0, server_default="0"),
    sa.Column("called_aet", sa.String, nullable=False, default="", server_default=""),
)

instance = sa.Table(
    "instance",
    metadata,
    sa.Column("sop_instance_uid", sa.String, primary_key=True),
    sa.Column("study_uid", sa.String, nullable=False, index=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("series_uid", sa.String, nullable=False),
    sa.Column("sop_class_uid", sa.String, nullable=False),
    sa.Column("transfer_syntax_uid", sa.String, nullable=False),
    sa.Column("patient_digest", sa.String, nullable=False),
    sa.Column("content_digest", sa.String, nullable=False),
    sa.Column("num_bytes", sa.Integer, nullable=False),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("peer", sa.String, nullable=False),
    sa.Column("received_at", sa.Float, nullable=False),
)

result = sa.Table(
    "result",
    metadata,
    sa.Column("study_uid", sa.String, primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("content", sa.JSON, nullable=False),
    sa.Column("finished_at", sa.Float, nullable=False),
)

output = sa.Table(
    "output",
    metadata,
    sa.Column("sop_instance_uid", sa.String, primary_key=True),
    sa.Column("study_uid", sa.String, nullable=False, index=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("sop_class_uid", sa.String, nullable=False),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("sha256", sa.String, nullable=False),
)

prior = sa.Table(
    "prior",
    metadata,
    sa.Column("study_uid", sa.String, primary_key=True),
    sa.Column("sop_instance_uid", sa.String, primary_key=True),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("num_bytes", sa.Integer, nullable=False),
)
"""Earlier films that were fetched for the draft of a study: they are kept as long as the study."""

delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("sop_instance_uid", sa.ForeignKey("output.sop_instance_uid"), primary_key=True),
    sa.Column("destination", sa.String, primary_key=True),
    sa.Column("status", sa.String, nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_at", sa.Float, nullable=False),
    sa.Column("deadline_at", sa.Float, nullable=False),
    sa.Column("sent_at", sa.Float),
    sa.Column("status_code", sa.Integer),
    sa.Column("reason", sa.String, nullable=False, default=""),
)

commitment = sa.Table(
    "commitment",
    metadata,
    sa.Column("sop_instance_uid", sa.ForeignKey("output.sop_instance_uid"), primary_key=True),
    sa.Column("destination", sa.String, primary_key=True),
    sa.Column("transaction_uid", sa.String),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("resends", sa.Integer, nullable=False, default=0),
    sa.Column("next_at", sa.Float, nullable=False, index=True),
)
"""What a destination is asked to commit to: open for as long as the delivery is `sent`."""

basic_text = sa.Table(
    "basic_text",
    metadata,
    sa.Column("destination", sa.String, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
)
"""The destinations that took Basic Text SR and no Enhanced SR, and when that was last seen."""

commitment_request = sa.Table(
    "commitment_request",
    metadata,
    sa.Column("transaction_uid", sa.String, primary_key=True),
    sa.Column("destination", sa.String, nullable=False),
    sa.Column("at", sa.Float, nullable=False, index=True),
    sa.Column("reported_at", sa.Float),
)
"""Every transaction that was ever begun: a report may come long after it was asked for again."""

custody = sa.Table(
    "custody",
    metadata,
    sa.Column("transaction_uid", sa.String, primary_key=True),
    sa.Column("peer", sa.String, primary_key=True),
    sa.Column("objects", sa.JSON, nullable=False),
    sa.Column("asked_at", sa.Float, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_at", sa.Float, nullable=False),
    sa.Column("answered_at", sa.Float),
    sa.Column("reason", sa.String, nullable=False, default=""),
)
"""What peers asked us to commit to; open until `answered_at`, whether told or given up."""

announcement = sa.Table(
    "announcement",
    metadata,
    sa.Column("sop_instance_uid", sa.String, primary_key=True),
    sa.Column("study_uid", sa.String, primary_key=True, index=True),
    sa.Column("peer", sa.String, nullable=False),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("images", sa.JSON, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
"""What peers said of a study by MPPS or IAN: a row for each study that one speaks of."""

study_count = sa.Table(
    "study_count",
    metadata,
    sa.Column("study_uid", sa.String, primary_key=True),
    sa.Column("num_images", sa.Integer, nullable=False),
    sa.Column("asked_at", sa.Float, nullable=False),
)
"""How many images a peer held of a study when it was last asked."""

event = sa.Table(
    "event",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("study_uid", sa.String, nullable=False, index=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("detail", sa.String, nullable=False, default=""),
)

carried = sa.Table(
    "carried",
    metadata,
    sa.Column("study_uid", sa.String, primary_key=True),
    sa.Column("receiver", sa.String, primary_key=True),
    sa.Column("until", sa.Float, nullable=False),
)

rejection = sa.Table(
    "rejection",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("calling_aet", sa.String, nullable=False),
    sa.Column("address", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("hint", sa.String, nullable=False, default=""),
)

question = sa.Table(
    "question",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_uid", sa.String, nullable=False, index=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("asked_at", sa.Float, nullable=False),
    sa.Column("asked_by", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("next_at", sa.Float, nullable=False),
    sa.Column("answer", sa.String),
    sa.Column("provenance", sa.JSON),
    sa.Column("answered_at", sa.Float, index=True),
    sa.Column("reason", sa.String, nullable=False, default=""),
    sa.Column("carried_by", sa.Integer),
    sa.Column("task", sa.JSON(none_as_null=True)),
)
"""Questions on the film of a draft; open until `answered_at`, whether answered or given up.

`carried_by` is the generation whose report carries the answer; `task` the task that it is, if any,
with what it was asked with."""

feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("study_uid", sa.String, nullable=False, index=True),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("verdict", sa.String, nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("findings", sa.JSON),
    sa.Column("impression", sa.JSON),
    sa.Column("answers_indication", sa.Integer),
    sa.Column("saves_time", sa.Integer),
    sa.Column("seconds", sa.Float),
    sa.Column("note", sa.String, nullable=False, default=""),
    sa.Column("by", sa.String, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)
"""What readers made of a draft; findings and impression where they wrote their own."""

revision = sa.Table(
    "revision",
    metadata,
    sa.Column("study_uid", sa.String, primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True),
    sa.Column("base", sa.Integer, nullable=False),
    sa.Column("findings", sa.JSON),
    sa.Column("impression", sa.JSON),
    sa.Column("answers", sa.JSON),
)
"""Generations that are built from the draft of an earlier one, `base`, without the model."""

access = sa.Table(
    "access",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("user", sa.String, nullable=False),
    sa.Column("address", sa.String, nullable=False),
    sa.Column("study_uid", sa.String),
)
"""Who came to the review page, and what they did there; the audit trail reads it."""

account = sa.Table(
    "account",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("password_hash", sa.String, nullable=False),
    sa.Column("made_at", sa.Float, nullable=False),
    sa.Column("disabled", sa.Boolean, nullable=False, default=False),
)
"""Who may log in to the pages; no hash where the site's identity provider knows the password."""
