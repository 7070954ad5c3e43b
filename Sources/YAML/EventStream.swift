internal import CYaml

/// What libyaml saw next. Anchors and tags are only told of, since both are refused.
struct Event {
    enum Kind {
        case streamStart, streamEnd
        case documentStart(hasTagDirectives: Bool)
        case documentEnd
        case alias
        case scalar(String, isPlain: Bool)
        case sequenceStart, sequenceEnd
        case mappingStart, mappingEnd
    }
    let kind: Kind
    let place: Place
    let hasAnchor: Bool
    let hasTag: Bool
}

/// libyaml's parser over a text of its own. After a throw it has nothing more to say and must not be asked.
///
/// Safe because the parser and the copy of the text that it reads are made here, freed only in `deinit`, in that order, and
/// neither leaves this type; every event is copied out and deleted before `next` returns.
@safe struct EventStream: ~Copyable {
    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private let text: UnsafeMutableBufferPointer<UInt8>

    /// `nil` when memory is out.
    init?(_ bytes: [UInt8]) {
        // One byte more, because an empty allocation may have no address.
        let copy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: bytes.count + 1)
        _ = unsafe copy.initialize(from: bytes)
        guard let start = copy.baseAddress, let created = unsafe cyaml_parser_create(start, bytes.count)
        else {
            unsafe copy.deallocate()
            return nil
        }
        unsafe parser = created
        unsafe text = copy
    }

    deinit {
        unsafe cyaml_parser_destroy(parser)
        unsafe text.deallocate()
    }

    /// The next event. Throws what makes the text not YAML.
    mutating func next() throws(Problem) -> Event {
        var event = unsafe yaml_event_t()
        guard unsafe yaml_parser_parse(parser, &event) == 1 else { throw problem() }
        defer { unsafe yaml_event_delete(&event) }
        let mark = unsafe event.start_mark
        return Event(
            kind: unsafe Self.kind(of: event),
            place: Place(line: Int(clamping: mark.line) + 1, column: Int(clamping: mark.column) + 1),
            hasAnchor: unsafe cyaml_event_anchor(&event) != nil,
            hasTag: unsafe cyaml_event_tag(&event) != nil)
    }

    private static func kind(of event: yaml_event_t) -> Event.Kind {
        switch unsafe event.type {
        case YAML_STREAM_START_EVENT: return .streamStart
        case YAML_DOCUMENT_START_EVENT:
            let directives = unsafe event.data.document_start.tag_directives
            return .documentStart(hasTagDirectives: unsafe directives.start != directives.end)
        case YAML_DOCUMENT_END_EVENT: return .documentEnd
        case YAML_ALIAS_EVENT: return .alias
        case YAML_SCALAR_EVENT:
            let scalar = unsafe event.data.scalar
            // The reader refuses invalid UTF-8, and the scanner escapes that are no scalar values: nothing is repaired here.
            let bytes = unsafe UnsafeBufferPointer(start: scalar.value, count: scalar.length)
            return .scalar(
                unsafe String(decoding: bytes, as: UTF8.self),
                isPlain: unsafe scalar.style == YAML_PLAIN_SCALAR_STYLE)
        case YAML_SEQUENCE_START_EVENT: return .sequenceStart
        case YAML_SEQUENCE_END_EVENT: return .sequenceEnd
        case YAML_MAPPING_START_EVENT: return .mappingStart
        case YAML_MAPPING_END_EVENT: return .mappingEnd
        default: return .streamEnd
        }
    }

    private func problem() -> Problem {
        let reason = unsafe Self.words(parser.pointee.problem) ?? "it cannot be read"
        switch unsafe parser.pointee.error {
        case YAML_MEMORY_ERROR: return Problem(at: Place(line: 1, column: 1), "out of memory")
        case YAML_READER_ERROR:
            return Problem(
                at: place(ofByte: unsafe parser.pointee.problem_offset), "not valid YAML: \(reason)")
        default:
            let mark = unsafe parser.pointee.problem_mark
            let circumstance = unsafe Self.words(parser.pointee.context).map { "\($0): " } ?? ""
            return Problem(
                at: Place(line: Int(clamping: mark.line) + 1, column: Int(clamping: mark.column) + 1),
                "not valid YAML: \(circumstance)\(reason)")
        }
    }

    /// The reader tells an offset only. Columns count characters, that is, bytes that do not continue one.
    private func place(ofByte offset: Int) -> Place {
        var line = 1
        var column = 1
        // The last byte of `text` is not of the input (see `init`).
        for index in unsafe 0..<max(0, min(offset, text.count - 1)) {
            let byte = unsafe text[index]
            if byte == UInt8(ascii: "\n") {
                line += 1
                column = 1
            } else if byte & 0xC0 != 0x80 {
                column += 1
            }
        }
        return Place(line: line, column: column)
    }

    private static func words(_ text: UnsafePointer<CChar>?) -> String? {
        guard let text = unsafe text else { return nil }
        return unsafe String(cString: text)
    }
}
