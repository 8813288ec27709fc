"""An id that alembic_version cannot hold on PostgreSQL."""

revision = "0046_add_a_queue_for_the_jobs_of_deployments"  # expect: revision-id
down_revision = "0045_exactly_thirty_two_character"
