import Backbone
import BusService
import Foundation
import GRDB
import ServiceKit
import Synchronization
import Testing

@testable import SearchService

@Suite("The index follows the log") struct FeedTests {
    private func withDirectory(_ body: (URL) async throws -> Void) async throws {
        let directory = Harness.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        try await body(directory)
    }

    @Test("Events in any order and sent twice leave the newest state") func order() async throws {
        try await RunningSearch.with { search in
            let (first, second) = (Fixture.id(1), Fixture.id(2))
            let newer = Fixture.event(.stored, first, title: "newer plan", version: 3)
            try await search.publish([
                newer, Fixture.event(.stored, first, title: "older plan", version: 2),
                Fixture.event(.deleted, second, version: 2),
                Fixture.event(.stored, second, title: "deleted plan", version: 1),
            ])
            try await search.publish([newer, Fixture.event(.stored, first, title: "again", version: 3)])
            #expect(try await search.titles("plan") == ["newer plan"])
            #expect(try await search.gauge("events_behind") == 0)
            #expect(try await search.gauge("event_log_reachable") == 1)
            #expect(try await search.gauge("documents") == 1)
        }
    }

    @Test(
        "A store that was deleted is filled from the log again by itself, and is whole once it has been at its end"
    )
    func deletedStore() async throws {
        try await RunningSearch.withBus { bus in
            try await withDirectory { directory in
                try await RunningSearch.run(over: bus, store: directory) { search in
                    try await search.publish(
                        (1...450).map { Fixture.event(.stored, Fixture.id($0), title: "plan \($0)") })
                    try await search.publish([Fixture.event(.deleted, Fixture.id(450), version: 2)])
                }
                try FileManager.default.removeItem(at: directory)
                try await RunningSearch.run(over: bus, store: directory) { search in
                    try await search.settle()
                    try await search.until { try await search.store.standing().isWhole }
                    #expect(try await search.gauge("documents") == 449)
                    #expect(try await search.gauge("index_whole") == 1)
                    let answer = try await Harness.ask(
                        search.origin, "GET", "/search/documents?q=plan", token: Harness.token("ada"))
                    #expect(answer.object["total"] as? Int == 449)
                    #expect(answer.object["isIndexWhole"] as? Bool == true)
                }
            }
        }
    }

    @Test("A store that knew no events keeps its documents, and takes what the log tells besides")
    func olderStore() async throws {
        try await RunningSearch.withBus { bus in
            try await withDirectory { directory in
                let older = try Fixture.storeWithoutEvents(directory)
                try await older.write { db in
                    try SearchStore.apply(
                        db, id: Fixture.id(1), Fixture.document("kept plan", version: 2), generation: 1)
                }
                try older.close()
                _ = try await bus.publish([
                    Fixture.event(.stored, Fixture.id(1), title: "older plan", version: 1),
                    Fixture.event(.stored, Fixture.id(2), title: "other plan", version: 1),
                ])
                try await RunningSearch.run(over: bus, store: directory) { search in
                    try await search.settle()
                    #expect(try await search.titles("plan").sorted() == ["kept plan", "other plan"])
                }
            }
        }
    }

    @Test("An event that search cannot read is parked and counted, and the others flow") func poison()
        async throws
    {
        try await RunningSearch.with { search in
            let odd = Event(
                "document.created", subject: Fixture.id(1), data: JSONText(["owner": 7]), producer: "test",
                trace: .fresh())
            try await search.publish([
                odd, Fixture.event(.stored, Fixture.id(2), title: "after", version: 1),
            ])
            #expect(try await search.titles("after") == ["after"])
            #expect(try await search.gauge("events_parked") == 1)
        }
    }

    @Test("A bus that is away hinders nobody who searches, and the index goes on when it is back")
    func busAway() async throws {
        try await RunningSearch.withBus { bus in
            try await withDirectory { directory in
                let door = Door(bus)
                try await RunningSearch.run(over: bus, backbone: door, store: directory) { search in
                    try await search.publish([Fixture.event(.stored, Fixture.id(1), title: "plan before")])
                    door.isOpen = false
                    _ = try await bus.publish([Fixture.event(.stored, Fixture.id(2), title: "plan after")])
                    try await search.until { try await search.gauge("event_log_reachable") == 0 }
                    #expect(try await search.titles("plan") == ["plan before"])
                    #expect(try await Harness.ask(search.origin, "GET", "/readyz").status == 200)
                    door.isOpen = true
                    try await search.settle()
                    #expect(try await search.titles("plan").count == 2)
                    try await search.until { try await search.gauge("event_log_reachable") == 1 }
                }
            }
        }
    }
}

@Suite("The index is built anew") struct RebuildTests {
    @Test("An administrator has it built anew; nobody else, and not twice at a time") func asked()
        async throws
    {
        try await RunningSearch.withBus { bus in
            let directory = Harness.directory()
            defer { try? FileManager.default.removeItem(at: directory) }
            let door = Door(bus)
            try await RunningSearch.run(over: bus, backbone: door, store: directory) { search in
                #expect(try await search.rebuild(roles: ["user"]).status == 403)
                #expect(try await search.rebuild(scope: "documents").status == 403)
                #expect(
                    try await Harness.ask(search.origin, "POST", "/search/admin/rebuild").status == 401)
                #expect(try await search.store.standing().isRebuilding == false)

                door.isOpen = false
                let begun = try await search.rebuild()
                #expect(begun.status == 202 && begun.text("state") == "rebuilding")
                let again = try await search.rebuild()
                #expect(again.status == 409 && again.text("reason") == "rebuild_under_way")
                #expect(try await search.gauge("index_rebuilding") == 1)
                door.isOpen = true
                try await search.until { try await search.gauge("index_rebuilding") == 0 }
            }
        }
    }

    @Test(
        "The old index is searched, and follows the log, until the new one is whole; then what the log never told is gone"
    )
    func switched() async throws {
        try await RunningSearch.withBus { bus in
            let directory = Harness.directory()
            defer { try? FileManager.default.removeItem(at: directory) }
            let door = Door(bus)
            try await RunningSearch.run(over: bus, backbone: door, store: directory) { search in
                try await search.publish([
                    Fixture.event(.stored, Fixture.id(1), title: "kept plan"),
                    Fixture.event(.stored, Fixture.id(2), title: "deleted plan"),
                    Fixture.event(.deleted, Fixture.id(2), version: 2),
                ])
                try await search.store.apply(id: Fixture.id(3), Fixture.document("phantom plan"))
                // The rebuild's reader finds the door shut, that of the index does not.
                door.shut(to: SearchStore.Group.rebuild)
                #expect(try await search.rebuild().status == 202)
                try await search.publish([Fixture.event(.stored, Fixture.id(4), title: "new plan")])
                #expect(
                    try await search.titles("plan").sorted() == ["kept plan", "new plan", "phantom plan"])
                #expect(try await search.gauge("index_rebuilding") == 1)

                door.shut(to: nil)
                try await search.until { try await search.gauge("index_rebuilding") == 0 }
                #expect(try await search.titles("plan").sorted() == ["kept plan", "new plan"])
                // Cleared away, on the bus too, and the index goes on.
                try await search.until {
                    try await bus.group(SearchStore.Group.rebuild) == nil
                }
                let rows = try await search.store.pool.read { db in
                    try Int.fetchOne(db, sql: "SELECT count(*) FROM document")
                }
                #expect(rows == 2)
                try await search.publish([Fixture.event(.stored, Fixture.id(5), title: "newest plan")])
                #expect(try await search.titles("plan").count == 3)
            }
            let store = try SearchStore(directory: directory)
            try await store.pool.write { db in
                try db.execute(
                    sql: "INSERT INTO document_text (document_text, rank) VALUES ('integrity-check', 1)")
            }
        }
    }

    @Test("A rebuild that a stop cut short goes on at the next start") func resumed() async throws {
        try await RunningSearch.withBus { bus in
            let directory = Harness.directory()
            defer { try? FileManager.default.removeItem(at: directory) }
            let door = Door(bus)
            try await RunningSearch.run(over: bus, backbone: door, store: directory) { search in
                try await search.publish([Fixture.event(.stored, Fixture.id(1), title: "plan")])
                door.shut(to: SearchStore.Group.rebuild)
                #expect(try await search.rebuild().status == 202)
            }
            try await RunningSearch.run(over: bus, store: directory) { search in
                try await search.until { try await !search.store.standing().isRebuilding }
                #expect(try await search.titles("plan") == ["plan"])
                #expect(try await search.store.standing().serving == 2)
            }
        }
    }

    @Test("What was built takes its place only when it is as far as what it replaces") func asFar()
        async throws
    {
        try await Fixture.with { fixture in
            try await fixture.store.pool.write { db in
                try SearchStore.markWhole(db)
                #expect(try SearchStore.beginRebuild(db))
                try db.execute(
                    sql:
                        "INSERT OR REPLACE INTO consumer_position (group_name, event_offset, attempts) VALUES ('search', 7, 0), ('search-rebuild', 6, 0)"
                )
                try SearchStore.finishRebuild(db)
                #expect(try SearchStore.standing(db).isRebuilding)
                try db.execute(
                    sql: "UPDATE consumer_position SET event_offset = 7 WHERE group_name = 'search-rebuild'")
                try SearchStore.finishRebuild(db)
                #expect(try SearchStore.standing(db).isRebuilding == false)
            }
        }
    }
}
