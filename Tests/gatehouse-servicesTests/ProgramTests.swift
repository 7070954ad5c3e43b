import Foundation
import ServiceKit
import Testing

/// The built program, beside the test bundle.
func program() throws -> URL {
    let bundle = URL(filePath: CommandLine.arguments[0])
    let places = [bundle.deletingLastPathComponent(), Bundle.main.bundleURL]
    return try #require(
        places.map { $0.appending(path: "gatehouse-services") }
            .first { FileManager.default.isExecutableFile(atPath: $0.path(percentEncoded: false)) })
}

@Suite("The program") struct ProgramTests {
    private struct Announcement: Decodable {
        let event: String
        let service: String
        let address: String
        let port: Int
    }

    /// Starts `all`, waits for its five announcements, and ends it after `body`.
    private func withAll(
        _ directory: URL, _ body: ([String: Origin]) async throws -> Void
    ) async throws -> Int32 {
        let process = Process()
        process.executableURL = try program()
        process.arguments = [
            "all", "--data", directory.path(percentEncoded: false), "--bus-port", "0", "--auth-port", "0",
            "--core-port", "0", "--worker-port", "0", "--search-port", "0", "--log-level", "critical",
        ]
        let output = Pipe()
        process.standardOutput = output
        // When a test crashes, the program goes on: whoever reads what the tests print would wait for its end.
        process.standardInput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        do {
            var origins: [String: Origin] = [:]
            var text = Data()
            while origins.count < 5 {
                let more = output.fileHandleForReading.availableData
                try #require(!more.isEmpty)
                text.append(more)
                for line in text.split(separator: UInt8(ascii: "\n")) {
                    guard let told = try? JSONDecoder().decode(Announcement.self, from: line) else {
                        continue
                    }
                    #expect(told.event == "listening")
                    origins[told.service] = Origin(.init(host: told.address, port: told.port))
                }
            }
            try await body(origins)
        } catch {
            process.terminate()
            throw error
        }
        process.terminate()
        process.waitUntilExit()
        return process.terminationReason == .exit ? process.terminationStatus : -1
    }

    private func send(
        _ origin: Origin?, _ method: String, _ path: String, type: String = "application/json",
        token: String? = nil, body: String? = nil
    ) async throws -> [String: Any] {
        var fields = [("Content-Type", type)]
        if let token { fields.append(("Authorization", "Bearer \(token)")) }
        let answer = try await OutboundClient(timeout: .seconds(600), connectTimeout: .seconds(600)).send(
            method, #require(origin), path, fields: fields, body: body.map { Data($0.utf8) })
        return (try? JSONSerialization.jsonObject(with: answer.body)) as? [String: Any] ?? [:]
    }

    @Test(
        "The services know each other: an account, a token, a document, its search, a job; SIGTERM ends with 0"
    )
    func platform() async throws {
        let directory = FileManager.default.temporaryDirectory.appending(
            path: "gatehouse-\(Identifier.make())")
        defer { try? FileManager.default.removeItem(at: directory) }
        let status = try await withAll(directory) { origins in
            _ = try await send(
                origins["auth"], "POST", "/auth/register",
                body: "{\"email\":\"ada@example.com\",\"password\":\"correct horse\"}")
            let tokens = try await send(
                origins["auth"], "POST", "/auth/token", type: "application/x-www-form-urlencoded",
                body: "grant_type=password&username=ada@example.com&password=correct+horse")
            let token = try #require(tokens["access_token"] as? String)
            let document = try await send(
                origins["core"], "POST", "/api/v1/documents", token: token,
                body: "{\"title\":\"Engine\",\"body\":\"weaves algebraic patterns\"}")
            var found: [String: Any] = [:]
            while found["total"] as? Int != 1 {
                found = try await send(
                    origins["search"], "GET", "/search/documents?q=algebraic", token: token)
                try #require(found["hits"] != nil)
            }
            let hit = (found["hits"] as? [[String: Any]])?.first
            #expect(hit?["id"] as? String == document["id"] as? String)
            let job = try await send(
                origins["worker"], "POST", "/worker/jobs", token: token,
                body: "{\"kind\":\"echo\",\"payload\":7}")
            #expect(job["state"] as? String == "ready")
        }
        #expect(status == 0)
        // The same store once more: nothing of the first run is in the way.
        #expect(try await withAll(directory) { _ in } == 0)
    }
}
