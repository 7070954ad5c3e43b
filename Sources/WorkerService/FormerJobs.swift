internal import Backbone
internal import GRDB
internal import ServiceKit

/// Jobs that the worker kept itself, before there was a bus.
enum FormerJobs {
    static func register(in migrator: inout DatabaseMigrator) {
        migrator.registerMigration("1") { db in
            try db.execute(
                sql: """
                    CREATE TABLE job (
                        id TEXT PRIMARY KEY, owner TEXT NOT NULL, kind TEXT NOT NULL, payload TEXT NOT NULL,
                        state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
                        failures INTEGER NOT NULL DEFAULT 0, interruptions INTEGER NOT NULL DEFAULT 0,
                        result TEXT, error TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
                        run_at INTEGER NOT NULL, request_id TEXT NOT NULL
                    ) STRICT;
                    CREATE INDEX job_due ON job (run_at, id) WHERE state = 'queued';
                    CREATE INDEX job_running ON job (id) WHERE state = 'running';
                    CREATE INDEX job_waiting_owner ON job (owner) WHERE state IN ('queued', 'running');
                    CREATE INDEX job_ended ON job (updated_at) WHERE state IN ('done', 'failed');
                    """)
        }
    }

    /// Those that had not ended go to the backbone, under their ids, once; the others were kept for a week at most, and are
    /// forgotten. After the outbox's own tables.
    static func registerMove(in migrator: inout DatabaseMigrator, _ outbox: Outbox) {
        migrator.registerMigration("worker.jobs.moved") { db in
            let rows = try Row.fetchAll(
                db, sql: "SELECT * FROM job WHERE state IN ('queued', 'running') ORDER BY run_at, id")
            let jobs = try rows.map { row in
                NewJob(
                    queue: JobKind.workQueue, kind: row["kind"],
                    payload: try JSONText(checking: row["payload"]),
                    trace: Trace(requestID: row["request_id"], traceparent: nil), owner: row["owner"],
                    id: row["id"])
            }
            try outbox.append(db, jobs: jobs)
            try db.execute(sql: "DROP TABLE job")
        }
    }
}
