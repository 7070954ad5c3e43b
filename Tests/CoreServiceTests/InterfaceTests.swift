import Foundation
import ServiceKit
import Testing

@testable import CoreService

@Suite("The interface's description") struct InterfaceTests {
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

    @Test("It is served, and each operation in it is there: without a token it answers 401") func served()
        async throws
    {
        try await Harness.withCore { core in
            let answer = try await Harness.ask(core, "GET", "/openapi.json")
            #expect(answer.status == 200)
            #expect(answer.field("Content-Type") == "application/json")
            #expect([UInt8](answer.body) == PackageResources.openapi_json)
            let operations = try Self.operations()
            #expect(
                Set(operations.map { "\($0.method) \($0.path)" }) == [
                    "GET /api/v1/documents", "POST /api/v1/documents", "GET /api/v1/documents/{id}",
                    "PUT /api/v1/documents/{id}", "DELETE /api/v1/documents/{id}",
                ])
            for (method, path, statuses) in operations {
                let path = path.replacing("{id}", with: Identifier.make())
                let refused = try await Harness.ask(
                    core, method, path, json: method == "PUT" || method == "POST" ? "{}" : nil)
                #expect(refused.status == 401, "\(method) \(path)")
                #expect(statuses.isSuperset(of: ["401", "403", "503"]), "\(method) \(path)")
            }
        }
    }
}
