import Config
import LinuxIO

/// The addresses of all names that the services of a configuration stand under. They are asked for before anything is built
/// and under no lock, since it may take `Resolver.timeLimit`.
struct HostNames: Sendable {
    private let answers: [String: Resolver.Answer]
    /// Nobody wanted them any more.
    let isCalledOff: Bool

    init(of configuration: Configuration, while isWanted: () -> Bool) {
        var names: [String] = []
        var seen: Set<String> = []
        for service in configuration.services {
            for case .name(let name) in service.endpoints.map(\.value.host) where seen.insert(name).inserted {
                names.append(name)
            }
        }
        let found = Resolver.resolve(names, while: isWanted)
        answers = Dictionary(uniqueKeysWithValues: zip(names, found))
        isCalledOff = found.contains(.failure(.calledOff))
    }

    struct Unresolved: Error { let text: String }

    func addresses(of name: String, port: UInt16) throws(Unresolved) -> [SocketAddress] {
        switch answers[name] {
        case .success(let found):
            return found.map { address in
                var address = address
                address.port = port
                return address
            }
        case .failure(let failure): throw Unresolved(text: "cannot resolve '\(name)': \(failure.text)")
        case nil: preconditionFailure("'\(name)' is of another configuration")
        }
    }
}
