import Foundation
import Logging
import ServiceKit
import Testing

/// A way to start a service that cannot succeed; `@` stands for a folder with a few files.
struct BadStart: CustomTestStringConvertible {
    let words: String
    let told: String

    init(_ words: String, _ told: String) {
        self.words = words
        self.told = told
    }

    var testDescription: String { words }

    static let all = [
        BadStart("core --data @/d", "--service-token-file is needed"),
        BadStart("core --data @/d --service-token-file @/none", "@/none: No such file or directory"),
        BadStart(
            "bus --data @/d --service-token-file @/short",
            "@/short: does not hold 16 to 1024 printable characters"),
        BadStart(
            "auth --data @/d --service-token-file @/secret --bus-url ftp://bus",
            "--bus-url must be http://host[:port], found 'ftp://bus'"),
        BadStart(
            "search --data @/d --service-token-file @/secret --jwks-url https://auth/keys",
            "--jwks-url must be http://host[:port]/path, found 'https://auth/keys'"),
        BadStart(
            "worker --data @/d --service-token-file @/secret --smtp-user us --smtp-password-file @/none",
            "@/none: No such file or directory"),
        BadStart("bus --data @/short --service-token-file @/secret", "@/short/: File exists"),
        BadStart("bus --data @/short/d --service-token-file @/secret", "@/short/d/: Not a directory"),
        BadStart(
            "bus --data @/bad --service-token-file @/secret", "@/bad/bus.sqlite: file is not a database"),
        BadStart(
            "bus --data @/d --service-token-file @/secret --host x..y --port 7",
            "bus cannot listen on x..y:7: Name or service not known"),
        BadStart("core --config @/none", "@/none: No such file or directory"),
        BadStart(
            "core --config @/typo",
            "@/typo:3: unknown option 'servce-token-file'; did you mean 'service-token-file'?"),
        BadStart("core --config=@/other", "@/other:1: unknown option 'smtp-url'"),
        BadStart("core --config @/itself", "@/itself:1: unknown option 'config'"),
        BadStart("core --config @/twice", "@/twice:2: 'port' was said on line 1 already"),
        BadStart(
            "worker --config @/flag",
            "@/flag:1: 'allow-private-webhooks' must be true or false, found 'maybe'"),
        BadStart("core --config @/line", "@/line:2: 'what is this' is not of the form 'option: value'"),
        BadStart("core --config @/empty", "@/empty:1: 'host' needs a value"),
        // All of the file is taken, and a word besides it wins.
        BadStart("bus --config @/good --port 7", "bus cannot listen on x..y:7: Name or service not known"),
        BadStart("parked core --data @/none", "@/none/core.sqlite: No such file or directory"),
        BadStart("parked core --data @/bad", "@/bad/core.sqlite: file is not a database"),
        BadStart("dead --queue mail", "--service-token-file is needed"),
        BadStart("grant --data @/none --email ada@example.com", "@/none/auth.sqlite: No such file"),
    ]
}

@Suite("A service that cannot start", .timeLimit(.minutes(10))) struct StartTests {
    /// The status, and all that was printed.
    private func run(_ words: [String]) throws -> (status: Int32, told: String) {
        let process = Process()
        process.executableURL = try program()
        process.arguments = words
        process.standardInput = FileHandle.nullDevice
        let output = Pipe()
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let told = try output.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: told, as: UTF8.self))
    }

    private func withFolder(_ body: (String) async throws -> Void) async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "gatehouse-\(Identifier.make())")
        defer { try? FileManager.default.removeItem(at: folder) }
        try FileManager.default.createDirectory(
            at: folder.appending(path: "bad"), withIntermediateDirectories: true)
        for (name, text) in [
            ("secret", "the-secret-of-the-services\n"), ("short", "short\n"),
            ("bad/bus.sqlite", String(repeating: "no database ", count: 1_000)),
            ("typo", "# a comment\nport: 0\n  servce-token-file: x\n"), ("other", "smtp-url: smtp://x\n"),
            ("itself", "config: x\n"), ("twice", "port: 0\nport: 1\n"),
            ("flag", "allow-private-webhooks: maybe\n"), ("line", "\nwhat is this\n"), ("empty", "host:\n"),
            (
                "good",
                """
                # The bus.
                host: x..y
                port :9

                data: \(folder.path(percentEncoded: false))/d
                service-token-file:   \(folder.path(percentEncoded: false))/secret
                """
            ),
            ("bad/core.sqlite", String(repeating: "no database ", count: 1_000)),
        ] {
            try Data(text.utf8).write(to: folder.appending(path: name))
        }
        try await body(folder.path(percentEncoded: false))
    }

    @Test("It says in one line what is wrong, and ends with a failure", arguments: BadStart.all)
    func refused(start: BadStart) async throws {
        try await withFolder { folder in
            var words = start.words.replacing("@/", with: folder + "/").split(separator: " ").map(String.init)
            if !["grant", "parked", "dead"].contains(words[0]) { words += ["--log-level", "critical"] }
            let (status, told) = try run(words)
            #expect(told == "Error: \(start.told.replacing("@/", with: folder + "/"))\n")
            #expect(status != 0)
        }
    }

    @Test("It says which port is taken") func taken() async throws {
        let other = ServiceParts(name: "other") { _ in }
        try await withRunning(other, log: Logger(label: "other") { _ in SwiftLogNoOpLogHandler() }) {
            origin in
            let port = try #require(origin.target?.port)
            try await withFolder { folder in
                let (status, told) = try run([
                    "core", "--data", "\(folder)/d", "--service-token-file", "\(folder)/secret", "--port",
                    "\(port)", "--log-level", "critical",
                ])
                #expect(told == "Error: core cannot listen on 127.0.0.1:\(port): Address already in use\n")
                #expect(status != 0)
            }
        }
    }
}
