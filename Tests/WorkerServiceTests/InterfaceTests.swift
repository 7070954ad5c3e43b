import BusService
import Foundation
import ServiceKit
import Testing

@testable import WorkerService

@Suite("The worker's description of its interface") struct InterfaceTests {
    private static func operations() throws -> [(method: String, path: String, statuses: Set<String>)] {
        let whole = try #require(
            try JSONSerialization.jsonObject(with: Data(PackageResources.openapi_json)) as? [String: Any])
        let paths = try #require(whole["paths"] as? [String: [String: Any]])
        return paths.flatMap { path, members in
            members.compactMap { method, operation in
                guard let statuses = (operation as? [String: Any])?["responses"] as? [String: Any] else {
                    return nil
                }
                return (method.uppercased(), path, Set(statuses.keys))
            }
        }
    }

    @Test(
        "It is served, and each operation in it is there: without a token it answers 401, without the scope 403"
    )
    func served() async throws {
        let scratch = Scratch()
        let service = try WorkerService(
            WorkerSettings(
                directory: scratch.worker,
                mail: MailSettings(
                    url: "smtp://127.0.0.1:1", from: "us@example.com", publicURL: "https://example.com")),
            backbone: BusStore(directory: scratch.bus), verifier: Harness.verifier(), log: Harness.log)
        try await withRunning(service.parts, log: Harness.log) { worker in
            let answer = try await Harness.ask(worker, "GET", "/worker/openapi.json")
            #expect(answer.status == 200 && [UInt8](answer.body) == PackageResources.openapi_json)
            let operations = try Self.operations()
            #expect(
                Set(operations.map { "\($0.method) \($0.path)" }) == [
                    "POST /worker/jobs", "GET /worker/jobs/{id}", "POST /worker/jobs/{id}/redrive",
                    "GET /worker/schedules", "POST /worker/schedules", "GET /worker/schedules/{id}",
                    "DELETE /worker/schedules/{id}", "GET /worker/webhooks", "POST /worker/webhooks",
                    "GET /worker/webhooks/{id}", "PATCH /worker/webhooks/{id}",
                    "DELETE /worker/webhooks/{id}",
                    "POST /worker/webhooks/{id}/test", "POST /worker/webhooks/{id}/rotate-secret",
                    "GET /worker/deliveries",
                ])
            let narrow = try Harness.token("ada", scope: "documents")
            for (method, path, statuses) in operations {
                let path = path.replacing("{id}", with: Identifier.make())
                let json = method == "POST" || method == "PATCH" ? "{}" : nil
                #expect(
                    try await Harness.ask(worker, method, path, json: json).status == 401, "\(method) \(path)"
                )
                let refused = try await Harness.ask(worker, method, path, token: narrow, json: json)
                #expect(refused.status == 403, "\(method) \(path)")
                #expect(statuses.isSuperset(of: ["401", "403", "503"]), "\(method) \(path)")
            }
        }
    }
}
