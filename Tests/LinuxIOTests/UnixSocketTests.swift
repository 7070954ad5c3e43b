import Foundation
import LinuxIO
import Memory
import Testing

/// A folder of its own, with short paths.
private func withFolder(_ body: (String) throws -> Void) throws {
    let folder = "/tmp/gatehouse-\(UUID().uuidString.prefix(8))"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try body(folder)
}

private func listen(_ path: String, _ file: inout SocketFile?) throws -> Descriptor {
    try Sockets.listen(atPath: path, mode: 0o666, backlog: 8, file: &file)
}

private func exists(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

@Suite("Sockets in the file system") struct UnixSocketTests {
    @Test("a connection carries bytes, and its peer has no address") func carries() throws {
        try withFolder { folder in
            var file: SocketFile?
            let listener = try listen(folder + "/s", &file)
            let path = Array((folder + "/s").utf8)
            let client = try Sockets.connect(toPath: path.rawSpan)
            #expect(client.connectError() == nil)
            guard case .connection(let server, let peer) = Sockets.accept(from: listener.number) else {
                Issue.record("no connection")
                return
            }
            #expect(peer.isUnix && peer == .unix && peer.text == "unix" && peer.port == 0)
            let pool = BlockPool(limit: 4)
            var outbound = ByteQueue()
            var inbound = ByteQueue()
            let isQueued = outbound.append("hello", from: pool)
            let sent = client.send(from: &outbound)
            let got = server.receive(into: &inbound, from: pool)
            #expect(isQueued && sent == .bytes(5) && got == .bytes(5))
            #expect(inbound.array == Array("hello".utf8))
        }
    }

    @Test("everybody may connect, and the file goes with its owner") func file() throws {
        try withFolder { folder in
            let path = folder + "/s"
            do {
                var file: SocketFile?
                let listener = try listen(path, &file)
                let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions]
                #expect(mode as? Int == 0o666 && listener.number >= 0)
                _ = consume file
            }
            #expect(!exists(path))
        }
    }

    @Test("a dead socket is replaced, a live one is an error, and so is anything else") func occupied() throws
    {
        try withFolder { folder in
            let path = folder + "/s"
            var file: SocketFile?
            let first = try listen(path, &file)
            #expect(throws: SystemError.self) {
                var other: SocketFile? = nil; _ = try listen(path, &other)
            }
            #expect(exists(path))
            // Put in its place while it is open: what the first owner removes is its own file alone.
            try FileManager.default.removeItem(atPath: path)
            var second: SocketFile?
            let replaced = try listen(path, &second)
            _ = consume file
            #expect(exists(path) && first.number >= 0)
            // Closed without its file removed, as by a process that was killed: dead, and replaced.
            _ = consume replaced
            var third: SocketFile?
            let last = try listen(path, &third)
            let bytes = Array(path.utf8)
            let client = try Sockets.connect(toPath: bytes.rawSpan)
            #expect(client.number >= 0 && last.number >= 0)
            _ = consume third
            #expect(!exists(path))

            try "text".write(toFile: path, atomically: false, encoding: .utf8)
            do {
                var other: SocketFile?
                _ = try listen(path, &other)
                Issue.record("a file was taken for a socket")
            } catch let error as SystemError {
                #expect(error.isOccupied && !error.isAddressInUse)
            }
            #expect(try String(contentsOfFile: path, encoding: .utf8) == "text")
        }
    }

    @Test("a path has at most 107 bytes") func longPaths() throws {
        try withFolder { folder in
            let room = Sockets.longestPath - folder.utf8.count - 1
            var file: SocketFile?
            let listener = try listen(folder + "/" + String(repeating: "x", count: room), &file)
            #expect(listener.number >= 0)
            #expect(throws: SystemError.self) {
                var other: SocketFile? = nil
                _ = try listen(folder + "/" + String(repeating: "y", count: room + 1), &other)
            }
        }
    }

    @Test("nobody's socket refuses, and what was never there is missing") func refused() throws {
        try withFolder { folder in
            let path = Array((folder + "/none").utf8)
            #expect(throws: SystemError.self) { _ = try Sockets.connect(toPath: path.rawSpan) }
            #expect(throws: SystemError.self) { _ = try Sockets.connect(toPath: RawSpan()) }
        }
    }

    @Test("no address is the one that a peer without any has") func apart() {
        for address in [
            SocketAddress(ipv4: .max, port: 0), SocketAddress(ipv4: 0, port: 0),
            SocketAddress(high: .max, low: .max, port: 0, isV6: true),
        ] {
            #expect(!address.isUnix && address != .unix)
        }
    }
}
