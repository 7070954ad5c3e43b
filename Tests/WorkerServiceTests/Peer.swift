import Foundation
import Glibc
import Synchronization

/// A server of a few lines on a port of its own, one thread a connection.
final class Peer: Sendable {
    let port: Int
    private let listener: Int32
    private let accepted = Mutex(0)

    /// How many connections were made to it.
    var connections: Int { accepted.withLock { $0 } }

    init(_ serve: @escaping @Sendable (Connection) -> Void) throws {
        let (listener, port) = try Self.bound()
        guard listen(listener, 16) == 0 else { throw POSIXError(.EADDRINUSE) }
        self.listener = listener
        self.port = port
        Thread { [weak self] in
            while true {
                let descriptor = accept(listener, nil, nil)
                guard descriptor >= 0 else { break }
                self?.accepted.withLock { $0 += 1 }
                Thread { serve(Connection(descriptor)) }.start()
            }
            // Closed here alone: elsewhere its number could be another listener's by the time it is asked again.
            close(listener)
        }.start()
    }

    deinit {
        shutdown(listener, Int32(SHUT_RDWR))
    }

    /// A port that nobody listens on, nor will as long as the tests run: one that a peer had may be another test's at once.
    static let nobody = Result { try bound().port }

    /// A socket that has a port of the loopback.
    private static func bound() throws -> (descriptor: Int32, port: Int) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(descriptor, address, length) == 0 && getsockname(descriptor, address, &length) == 0
            }
        }
        guard isBound else { throw POSIXError(.EADDRINUSE) }
        return (descriptor, Int(UInt16(bigEndian: address.sin_port)))
    }
}

/// One connection of a peer.
final class Connection {
    private let descriptor: Int32
    private var held: [UInt8] = []

    init(_ descriptor: Int32) { self.descriptor = descriptor }
    deinit { close(descriptor) }

    func say(_ text: String) {
        _ = Array(text.utf8).withUnsafeBytes {
            send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
        }
    }

    /// What comes up to and with the end mark; `nil` when the connection ends before it.
    func read(through mark: String) -> String? {
        let mark = Array(mark.utf8)
        while true {
            if held.count >= mark.count,
                let start = (0...held.count - mark.count).first(where: { held[$0...].starts(with: mark) })
            {
                defer { held.removeFirst(start + mark.count) }
                return String(decoding: held[..<(start + mark.count)], as: UTF8.self)
            }
            guard more() else { return nil }
        }
    }

    func read(count: Int) -> String? {
        while held.count < count { guard more() else { return nil } }
        defer { held.removeFirst(count) }
        return String(decoding: held[..<count], as: UTF8.self)
    }

    /// Waits until the other side goes away.
    func waitForEnd() { while more() {} }

    private func more() -> Bool {
        var buffer = [UInt8](repeating: 0, count: 4_096)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else { return false }
        held += buffer[..<count]
        return true
    }
}

/// Takes requests and answers as it is told.
final class WebSink: Sendable {
    struct Asked: Sendable {
        let head: String
        let body: String

        func field(_ name: String) -> String? {
            head.split(separator: "\r\n").first { $0.lowercased().hasPrefix(name.lowercased() + ":") }
                .map { $0.dropFirst(name.count + 1).trimmingCharacters(in: .whitespaces) }
        }
    }

    let peer: Peer
    private let log: Log

    private final class Log: Sendable {
        let asked = Mutex<[Asked]>([])
    }

    var asked: [Asked] { log.asked.withLock { $0 } }
    var url: String { "http://127.0.0.1:\(peer.port)/hook" }

    /// `answer`: The whole answer, by the number of the request, from 1; `nil` leaves the client waiting.
    init(_ answer: @escaping @Sendable (Int) -> String? = { _ in "200 OK" }) throws {
        let log = Log()
        self.log = log
        peer = try Peer { wire in
            guard let head = wire.read(through: "\r\n\r\n") else { return }
            let length = Asked(head: head, body: "").field("Content-Length").flatMap { Int($0) } ?? 0
            guard let body = wire.read(count: length) else { return }
            let number = log.asked.withLock { asked in
                asked.append(Asked(head: head, body: body))
                return asked.count
            }
            guard let status = answer(number) else {
                wire.waitForEnd()
                return
            }
            wire.say("HTTP/1.1 \(status)\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
    }
}

/// Takes mails (RFC 5321), and answers some commands as it is told.
final class MailSink: Sendable {
    struct Taken: Sendable {
        let commands: [String]
        let data: String
    }

    let peer: Peer
    private let log: Log

    private final class Log: Sendable {
        let taken = Mutex<[Taken]>([])
        let offered = Mutex<[String]>([])
    }

    var taken: [Taken] { log.taken.withLock { $0 } }
    /// The text of each mail that came, also of those that were refused then.
    var offered: [String] { log.offered.withLock { $0 } }
    var url: String { "smtp://127.0.0.1:\(peer.port)" }

    /// `answers`: By the first word of the command, or `greeting`, or `end` for the mail itself.
    init(_ answers: @escaping @Sendable (String) -> String? = { _ in nil }) throws {
        let log = Log()
        self.log = log
        peer = try Peer { wire in
            wire.say((answers("greeting") ?? "220 sink") + "\r\n")
            var commands: [String] = []
            while let line = wire.read(through: "\r\n") {
                // CRLF is one Character.
                commands.append(String(line.dropLast()))
                let word = line.prefix { $0.isLetter }.uppercased()
                let answer =
                    answers(word) ?? (word == "DATA" ? "354 go on" : word == "QUIT" ? "221 bye" : "250 ok")
                wire.say(answer + "\r\n")
                guard answer.hasPrefix("354") else { continue }
                guard let data = wire.read(through: "\r\n.\r\n") else { return }
                log.offered.withLock { $0.append(data) }
                let verdict = answers("end") ?? "250 taken"
                if verdict.hasPrefix("250") {
                    let mail = Taken(commands: commands, data: data)
                    log.taken.withLock { $0.append(mail) }
                }
                wire.say(verdict + "\r\n")
            }
        }
    }
}
