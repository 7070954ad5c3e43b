import LinuxIO
import Memory
import Reactor

/// `gatehouse-upstream [--listen 127.0.0.1:0] [--threads 1]`: a service that answers as fast as it can, to put behind a
/// gateway under test. What it answers is told in `Answers.swift`. SIGTERM ends it.
@main struct Program {
    static func main() {
        guard let arguments = Arguments(CommandLine.arguments.dropFirst()) else {
            Files.write("usage: gatehouse-upstream [--listen ADDRESS:PORT] [--threads COUNT]\n", to: 2)
            exitWithFailure()
        }
        do {
            try serve(arguments)
        } catch {
            Files.write("gatehouse-upstream: \(arguments.address.text): \(error.text)\n", to: 2)
            exitWithFailure()
        }
    }

    private static func serve(_ arguments: Arguments) throws(SystemError) {
        // Before any thread is started: they inherit which signals are blocked.
        let signals = try SignalSource()
        _ = Machine.raiseDescriptorLimit()
        var address = arguments.address
        for index in 0..<arguments.threads {
            let listener = try Sockets.listen(at: address, sharesPort: arguments.threads > 1, backlog: 4096)
            // The kernel has chosen a port for the first; the others share it.
            address.port = try Sockets.localPort(of: listener)
            // The thread serves until the process ends, and the socket with it.
            let number = listener.release()
            _ = try WorkThread(name: "upstream-\(index)") { answer(from: number) }
        }
        let line = "{\"event\":\"listening\",\"address\":\"\(address.text)\"}\n"
        // The gateway tells it on standard error; whoever starts both may wait on either.
        Files.write(line, to: 1)
        Files.write(line, to: 2)
        try waitForEnd(signals)
    }

    private static func answer(from listener: Int32) {
        do {
            var responder = Responder(listener: listener)
            try responder.run()
        } catch {
            Files.write("gatehouse-upstream: \(error.text)\n", to: 2)
        }
    }

    private static func waitForEnd(_ signals: borrowing SignalSource) throws(SystemError) {
        var poller = try Poller(capacity: 1)
        try poller.add(signals.number, token: 0, interest: .level)
        while true {
            guard poller.wait(milliseconds: -1) > 0 else { continue }
            switch signals.take() {
            case .terminate, .interrupt: return
            case .hangUp, .user1, .other, .none: continue
            }
        }
    }

    private static func exitWithFailure() -> Never { Machine.exit(status: 2) }
}

/// What the command line says.
struct Arguments {
    private(set) var address = SocketAddress(
        bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1], port: 0, isV6: false)
    private(set) var threads = 1

    /// `nil` when the words are not as the usage says.
    init?(_ words: some Sequence<String>) {
        var words = words.makeIterator()
        while let word = words.next() {
            guard let value = words.next() else { return nil }
            switch word {
            case "--listen":
                guard let address = Arguments.address(value) else { return nil }
                self.address = address
            case "--threads":
                guard let count = Int(value), (1...256).contains(count) else { return nil }
                threads = count
            default: return nil
            }
        }
    }

    private static func address(_ text: String) -> SocketAddress? {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            return nil
        }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        let bytes = Array(host.utf8)
        guard var address = SocketAddress.parse(bytes.rawSpan) else { return nil }
        address.port = port
        return address
    }
}
