import Config
import LinuxIO
import Memory
import Proxy
import Telemetry
import YAML

/// The listening sockets: opened once, one a worker for each address, and held for as long as the address is configured.
/// Workers only watch them.
struct Listeners: ~Copyable, Sendable {
    /// Connections that the kernel may hold for a socket before they are accepted.
    static let backlog: Int32 = 4096

    /// Who may connect to a socket in the file system: everybody, as to a port of the loopback. Its folder can say otherwise.
    static let socketMode: UInt32 = 0o666

    struct Socket: ~Copyable, Sendable {
        let key: String
        let label: Int
        /// Removed with the socket, and before it is closed: until then no other file has its number.
        let file: SocketFile?
        /// One a worker, or a single one that all of them share.
        let descriptors: FixedArray<Descriptor>
        var isShared: Bool { descriptors.count == 1 }
        /// The generation from which on no worker accepts from it; 0 while it is in use.
        var retiredSince = 0
    }

    /// What an address comes to: where it is bound, with the port that the kernel chose.
    struct Opened: Sendable {
        let listener: String
        let address: String
    }

    private var sockets: Slab<Socket>
    private let workers: Int

    init(workers: Int) {
        sockets = Slab(capacity: ConfigurationBounds.listeners * ConfigurationBounds.addressesPerListener)
        self.workers = workers
    }

    private static func key(_ listener: ListenerSettings, _ address: ListenAddress, _ index: Int) -> String {
        // Two addresses with port 0 are two sockets: their place tells them apart.
        "\(listener.name.value) \(address.text)" + (address.internet?.port == 0 ? " #\(index)" : "")
    }

    /// Opens what `configuration` has and is not open yet; nothing stays open when something fails. Then `send` is
    /// called for each new socket with its worker, label and number. Old ones stay until `closeUnused`.
    mutating func open(
        _ configuration: Configuration, household: Household,
        send: (Int, Int, Int32, _ isShared: Bool) -> Void
    ) throws(Diagnostics) -> [Opened] {
        var made: [SlabID] = []
        var revived: [SlabID] = []
        var opened: [Opened] = []
        var errors: [Diagnostic] = []
        for listener in configuration.listeners {
            for (index, address) in listener.addresses.enumerated() {
                let key = Listeners.key(listener, address.value, index)
                if let id = find(key) {
                    // One that is on its way out comes back.
                    if sockets[id].retiredSince > 0 { revived.append(id) }
                    continue
                }
                do throws(Failure) {
                    let label = household.listeners.label(for: listener.name.value)
                    let (id, text) = try bind(address.value, key: key, label: label)
                    made.append(id)
                    opened.append(Opened(listener: listener.name.value, address: text))
                } catch {
                    errors.append(
                        Diagnostic(at: address.place, "cannot listen at \(address.value.text): \(error.text)")
                    )
                }
            }
        }
        guard errors.isEmpty else {
            for id in made { _ = sockets.remove(id) }
            throw Diagnostics(file: configuration.file, errors: errors)
        }
        for id in revived { sockets[id].retiredSince = 0 }
        for id in made + revived {
            for worker in 0..<workers {
                send(worker, sockets[id].label, number(id, worker), sockets[id].isShared)
            }
        }
        return opened
    }

    /// The descriptor that a worker watches.
    private func number(_ id: SlabID, _ worker: Int) -> Int32 {
        sockets[id].descriptors[sockets[id].isShared ? 0 : worker].number
    }

    private func find(_ key: String) -> SlabID? {
        for index in 0..<sockets.walkCount {
            if let id = sockets.name(at: index), sockets[id].key == key { return id }
        }
        return nil
    }

    /// Why a socket could not be had.
    private struct Failure: Error {
        let text: String

        init(_ text: String) { self.text = text }

        init(_ error: SystemError) {
            let hint =
                error.isAddressInUse
                ? "; is another gateway running?" : error.isOccupied ? "; what stands there is no socket" : ""
            text = error.text + hint
        }
    }

    /// The socket, and where it is, with the port that the kernel chose.
    private mutating func bind(
        _ address: ListenAddress, key: String, label: Int
    ) throws(Failure) -> (SlabID, String) {
        switch address {
        case .internet(let address):
            do throws(SystemError) {
                let (id, port) = try bind(address, key: key, label: label)
                let bound = SocketAddress(
                    bytes: address.host.mappedBytes, port: port, isV6: !address.host.isIPv4)
                return (id, bound.text)
            } catch {
                throw Failure(error)
            }
        case .unix(let path):
            do throws(SystemError) {
                var file: SocketFile?
                let descriptor = try Sockets.listen(
                    atPath: path, mode: Listeners.socketMode, backlog: Listeners.backlog, file: &file)
                return (share(descriptor.release(), file, key: key, label: label), address.text)
            } catch {
                throw Failure(error)
            }
        case .systemd(let name):
            do throws(Sockets.HandOverError) {
                let descriptor = try Sockets.handedOver(name: name)
                return (share(descriptor.release(), nil, key: key, label: label), address.text)
            } catch {
                switch error {
                case .none: throw Failure("systemd has handed over no socket of this name")
                case .several(let count):
                    throw Failure("systemd has handed over \(count) sockets of this name")
                case .notListening:
                    throw Failure("what systemd has handed over is no stream socket that listens")
                }
            }
        }
    }

    private mutating func share(
        _ number: Int32, _ file: consuming SocketFile?, key: String, label: Int
    ) -> SlabID {
        let descriptors = FixedArray(count: 1) { _ in Descriptor(owning: number) }
        return sockets.insert(Socket(key: key, label: label, file: file, descriptors: descriptors))
    }

    private mutating func bind(
        _ address: BindAddress, key: String, label: Int
    ) throws(SystemError) -> (SlabID, UInt16) {
        var place = SocketAddress(
            bytes: address.host.mappedBytes, port: address.port, isV6: !address.host.isIPv4)
        if place.port != 0 {
            // Without SO_REUSEPORT, or a second gateway would share the port in silence.
            _ = try Sockets.listen(at: place, sharesPort: false, backlog: 0)
        }
        var numbers: [Int32] = []
        do {
            for _ in 0..<workers {
                let descriptor = try Sockets.listen(at: place, sharesPort: true, backlog: Listeners.backlog)
                if place.port == 0 { place.port = try Sockets.localPort(of: descriptor) }
                numbers.append(descriptor.release())
            }
        } catch {
            for number in numbers { _ = Descriptor(owning: number) }
            throw error
        }
        let descriptors = FixedArray(count: workers) { Descriptor(owning: numbers[$0]) }
        return (
            sockets.insert(Socket(key: key, label: label, file: nil, descriptors: descriptors)), place.port
        )
    }

    /// Tells the workers to let go of sockets that `configuration` no longer has. They are closed by `closeRetired`.
    mutating func retire(_ configuration: Configuration, generation: Int, send: (Int, Int32) -> Void) {
        var wanted: Set<String> = []
        for listener in configuration.listeners {
            for (index, address) in listener.addresses.enumerated() {
                wanted.insert(Listeners.key(listener, address.value, index))
            }
        }
        for index in 0..<sockets.walkCount {
            guard let id = sockets.name(at: index), !wanted.contains(sockets[id].key),
                sockets[id].retiredSince == 0
            else { continue }
            for worker in 0..<workers { send(worker, number(id, worker)) }
            sockets[id].retiredSince = generation
        }
    }

    /// Closes all of them, so that whoever comes now is refused at once. After every worker has let go.
    mutating func closeAll() {
        for index in 0..<sockets.walkCount {
            if let id = sockets.name(at: index) { _ = sockets.remove(id) }
        }
    }

    /// Closes what every worker has let go of: all of them run `generation`, and read their mail in order. `true` when
    /// nothing is left to be closed.
    mutating func closeRetired(generation: Int) -> Bool {
        var isDone = true
        for index in 0..<sockets.walkCount {
            guard let id = sockets.name(at: index), sockets[id].retiredSince > 0 else { continue }
            if sockets[id].retiredSince <= generation { _ = sockets.remove(id) } else { isDone = false }
        }
        return isDone
    }
}
