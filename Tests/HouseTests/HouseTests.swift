import Foundation
import Testing

/// The repository that these tests were built from.
enum Repository {
    static let top = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
    static let folders = ["Sources", "Tests", "Benchmarks", "conf", "systemd", ".ci"]
    static let files = ["Package.swift", "Makefile", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
    static let endings: Set = [
        "swift", "h", "c", "py", "sh", "md", "yaml", "json", "conf", "service", "modulemap", "txt", "",
    ]

    /// Every text file that people write here. Fuzz corpora are bytes that machines found.
    static func all() throws -> [HouseFile] {
        var paths = files.filter { FileManager.default.fileExists(atPath: top.appending(path: $0).path) }
        for folder in folders {
            let root = top.appending(path: folder).path
            guard FileManager.default.fileExists(atPath: root) else { continue }
            for path in try FileManager.default.subpathsOfDirectory(atPath: root) {
                let isGenerated = ["corpus/", "__pycache__/", ".pytest_cache/"].contains { path.contains($0) }
                let whole = URL(filePath: "\(root)/\(path)")
                guard !isGenerated, endings.contains(whole.pathExtension),
                    try whole.resourceValues(forKeys: [.isRegularFileKey]).isRegularFile == true
                else { continue }
                paths.append("\(folder)/\(path)")
            }
        }
        return try paths.sorted().map { path in
            let bytes = try Data(contentsOf: top.appending(path: path))
            return HouseFile(path: path, text: String(decoding: bytes, as: UTF8.self))
        }
    }
}

@Suite("The house keeps its own rules") struct HouseTests {
    @Test("No file breaks a rule")
    func repository() throws {
        let files = try Repository.all()
        #expect(
            files.contains { $0.path == "Package.swift" }, "the repository was not found at \(Repository.top)"
        )
        for violation in files.flatMap(Rules.all) { Issue.record("\(violation)") }
    }

    @Test("Every row of the table leads down: no two rooms can reach each other")
    func acyclic() {
        for row in House.rows {
            var reached: Set<String> = []
            var open = Array(row.imports)
            while let next = open.popLast() {
                guard reached.insert(next).inserted else { continue }
                open += House.row(next)?.imports ?? []
            }
            #expect(!reached.contains(row.name), "\(row.name) reaches itself")
        }
    }

    @Test("No outbuilding may import a room of the gateway, and no room an outbuilding")
    func outbuildings() {
        for row in House.rows {
            for name in row.imports {
                let isOutbuilding = House.row(name)?.kind == .outbuilding
                #expect(isOutbuilding == (row.kind == .outbuilding), "\(row.name) imports \(name)")
            }
        }
    }

    @Test("Each row of Package.swift says what the table says")
    func manifest() throws {
        let manifest = try String(
            contentsOf: Repository.top.appending(path: "Package.swift"), encoding: .utf8)
        let rooms = manifest.matches(of: /targets \+= (?:room|program)\(\s*"([^"]+)"(?:,\s*\[([^\]]*)\])?/)
        #expect(rooms.count > 10)
        for match in rooms {
            let name = String(match.1)
            let listed = (match.2 ?? "").matches(of: /"([^"]+)"/).map { String($0.1) }
            guard let row = House.row(name) else {
                Issue.record("Package.swift has \(name), the table does not")
                continue
            }
            let allowed = row.imports.union(row.doors.subtracting(["Glibc", "Foundation"]))
            #expect(Set(listed) == allowed, "\(name) in Package.swift and in the table")
        }
    }
}

@Suite("Each rule can fail") struct RuleTests {
    private func rules(_ path: String, _ text: String) -> [String] {
        Rules.all(HouseFile(path: path, text: text)).map(\.description)
    }

    @Test(
        "unsafe code outside its rooms is refused, wherever the word stands",
        arguments: [
            "let a = unsafe pointer.pointee", "nonisolated(unsafe) var count = 0", "@unsafe func f() {}",
            "@safe struct S {}", "let s = \"\\(unsafe pointer.pointee)\"", "let r = #\"x\\#(unsafe p)\"#",
        ])
    func unsafeWord(line: String) {
        #expect(
            rules("Sources/Proxy/A.swift", "\n" + line).first?.hasPrefix("Sources/Proxy/A.swift:2: `") == true
        )
        #expect(rules("Tests/ProxyTests/A.swift", line).count == 1)
        #expect(rules("Sources/Memory/A.swift", line) == [])
        #expect(rules("Sources/AuthService/A.swift", line) == [])
        #expect(rules("Tests/Fuzz/Head/Head.swift", line) == [])
    }

    @Test(
        "prose about unsafe code is not code",
        arguments: [
            "// unsafe", "/* unsafe /* nested */ unsafe */", "let a = \"unsafe\"", "let a = #\"un\"unsafe\"#",
            "let a = \"\"\"\n\"unsafe\" \\\" unsafe\n\"\"\"", "let unsafeLooking = 1",
            "let a = \"\\(f(\"unsafe\"))\"",
        ])
    func prose(text: String) { #expect(rules("Sources/Proxy/A.swift", text) == []) }

    @Test("a string that ends is followed by code again")
    func codeAfterString() {
        #expect(rules("Sources/Proxy/A.swift", "f(\"a\\\"\", unsafe b)").count == 1)
        #expect(rules("Sources/Proxy/A.swift", "/* a */ unsafe f()").count == 1)
    }

    @Test(
        "a C module outside its room is refused",
        arguments: ["CLinux", "CVector", "COpenSSL", "CNghttp2", "CYaml", "CJemalloc", "Glibc", "Foundation"])
    func doors(module: String) {
        let expected = "Sources/Proxy/A.swift:1: Proxy may not import \(module)"
        #expect(rules("Sources/Proxy/A.swift", "import \(module)") == [expected])
        #expect(rules("Sources/Proxy/A.swift", "public import \(module)") == [expected])
        #expect(rules("Sources/Proxy/A.swift", "@_implementationOnly import \(module)") == [expected])
        #expect(rules("Sources/ServiceKit/A.swift", "import \(module)") == [])
    }

    @Test("a room's own door is open to it")
    func ownDoors() {
        #expect(rules("Sources/LinuxIO/A.swift", "import CLinux\nimport Glibc") == [])
        #expect(rules("Sources/TLS/A.swift", "import COpenSSL") == [])
        #expect(rules("Sources/TLS/A.swift", "import CNghttp2").count == 1)
        #expect(rules("Sources/gatehouse/A.swift", "import CJemalloc") == [])
        #expect(rules("Tests/ProxyTests/A.swift", "import Foundation") == [])
    }

    @Test("an arrow that the table does not have is refused")
    func arrows() {
        #expect(
            rules("Sources/HTTP1/A.swift", "import HTTP\npublic import Proxy")
                == ["Sources/HTTP1/A.swift:2: the table has no arrow from HTTP1 to Proxy"])
        #expect(rules("Sources/HTTP1/A.swift", "import struct Proxy.Snapshot").count == 1)
        #expect(rules("Sources/AuthService/A.swift", "import HTTP").count == 1)
        #expect(rules("Sources/JWT/A.swift", "import AuthService").count == 1)
        #expect(rules("Sources/AuthService/A.swift", "import ServiceKit\nimport Hummingbird") == [])
        #expect(rules("Tests/HTTP1Tests/A.swift", "@testable import HTTP1\nimport Memory") == [])
        #expect(rules("Tests/HTTP1Tests/A.swift", "@testable import Proxy").count == 1)
        // The services are tested with the bus, and none is built on it.
        #expect(rules("Tests/CoreServiceTests/A.swift", "import BusService") == [])
        #expect(rules("Sources/CoreService/A.swift", "import BusService").count == 1)
    }

    @Test("a room without a row is refused")
    func unknownRoom() { #expect(rules("Sources/Cellar/A.swift", "").count == 1) }

    @Test("what is counted alone is held to the rules of rooms")
    func micro() {
        #expect(rules("Benchmarks/Micro/Cellar/A.swift", "").count == 1)
        #expect(rules("Benchmarks/Micro/MicroParts/A.swift", "let a = unsafe b").count == 1)
        #expect(rules("Benchmarks/Micro/MicroParts/A.swift", "import Proxy").count == 1)
        #expect(rules("Benchmarks/Micro/MicroParts/A.swift", "import HTTP2") == [])
        #expect(rules("Benchmarks/Micro/make-samples", "") == [])
    }

    @Test(
        "a banned word in a type's name is refused",
        arguments: [
            "struct PoolManager {}", "final class HTTPHelper {}", "enum Utils {}",
            "protocol RequestContext {}",
            "public typealias PluginHost = Int", "actor Middleware {}", "struct BackendID {}",
            "struct ClusterID {}",
            "package indirect enum contextKind {}",
        ])
    func bannedTypes(line: String) { #expect(rules("Sources/Proxy/A.swift", line).count == 1) }

    @Test("a word that only holds a banned one is free, and Cluster belongs to Upstreams")
    func freeWords() {
        #expect(
            rules("Sources/Proxy/A.swift", "struct Utility {}\nstruct Contexts {}\nclass func f() {}") == [])
        #expect(rules("Sources/Upstreams/Cluster.swift", "struct Cluster {}") == [])
    }

    @Test(
        "a banned word in a file's name is refused",
        arguments: ["PoolManager.swift", "Helper.swift", "Worker+Utils.swift", "Cluster.swift"])
    func bannedFiles(name: String) { #expect(rules("Sources/Proxy/\(name)", "").count == 1) }

    @Test("a file of 601 lines is refused, one of 600 is not")
    func length() {
        #expect(rules("Sources/Proxy/A.swift", String(repeating: "\n", count: 600)) == [])
        #expect(
            rules("Sources/Proxy/A.swift", String(repeating: "\n", count: 601))
                == ["Sources/Proxy/A.swift:601: 601 lines, 600 are the most"])
    }

    @Test("leftover words are refused in code, comments and documents", arguments: House.leftovers)
    func leftover(word: String) {
        #expect(rules("Sources/Proxy/A.swift", "\n// \(word): later").first?.contains("A.swift:2:") == true)
        #expect(rules("README.md", word).count == 1)
        #expect(rules("README.md", "\(word)S") == [])
    }

    @Test("paths of one machine are refused", arguments: House.machinePaths)
    func machinePath(path: String) {
        #expect(rules("conf/a.yaml", "to: \(path)here").first?.hasPrefix("conf/a.yaml:1:") == true)
    }
}
