import Memory
import Reactor
import Testing

/// Numbers that look random and are the same each time.
struct Dice {
    private var state: UInt64

    init(seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 | 1 }

    mutating func roll(below bound: UInt64) -> UInt64 {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return (state &* 2_685_821_657_736_338_717) >> 20 % bound
    }
}

private let tick: UInt64 = 1 << 23
private let second: UInt64 = 1_000_000_000

@Suite("The timer wheel") struct TimerWheelTests {
    private struct Expected {
        let id: TimerID
        let deadline: UInt64
        let setAt: UInt64
    }

    /// Takes all that are due, and compares them with what the model says of them.
    private func collect(
        _ wheel: inout TimerWheel, _ model: inout [UInt64: Expected], now: UInt64
    ) -> [String] {
        var wrong: [String] = []
        while let token = wheel.popDue() {
            guard let timer = model.removeValue(forKey: token.word) else {
                wrong.append("\(token.word) fired, and was not set, or twice")
                continue
            }
            if timer.deadline > now { wrong.append("fired \(timer.deadline - now) ns early") }
        }
        for timer in model.values where max(timer.deadline, timer.setAt) + tick <= now {
            wrong.append("\(now - timer.deadline) ns late")
        }
        if wheel.count != model.count { wrong.append("\(wheel.count) timers, not \(model.count)") }
        return wrong
    }

    @Test(
        "against a list: none early, none late by more than a tick, none lost, none twice", arguments: 1...20)
    func model(seed: Int) {
        var dice = Dice(seed: UInt64(seed))
        var now = dice.roll(below: 1 << 50)
        let capacity = 300
        var wheel = TimerWheel(capacity: capacity, now: now)
        var model: [UInt64: Expected] = [:]
        var retired: [TimerID] = []
        var next: UInt64 = 0
        var wrong: [String] = []
        // From within a tick to more than three turns of the wheel (34.4 s each).
        let spans = [tick / 2, tick * 5, second, 34 * second, 120 * second]
        for _ in 0..<1500 where wrong.isEmpty {
            switch dice.roll(below: 10) {
            case 0...4:
                let deadline = now + dice.roll(below: spans[Int(dice.roll(below: 5))])
                let past = dice.roll(below: 20) == 0 ? min(now, 2 * second) : 0
                let id = wheel.schedule(Token(word: next), at: deadline - past)
                if let id {
                    model[next] = Expected(id: id, deadline: deadline - past, setAt: now)
                } else if model.count < capacity {
                    wrong.append("no room, and there was some")
                }
                next += 1
            case 5, 6:
                guard let (word, timer) = model.randomMember(&dice) else { continue }
                wheel.cancel(timer.id)
                retired.append(timer.id)
                model[word] = nil
            case 7:
                // Cancelled long ago; its slot may have another tenant.
                if !retired.isEmpty { wheel.cancel(retired[Int(dice.roll(below: UInt64(retired.count)))]) }
            default:
                now += dice.roll(below: spans[Int(dice.roll(below: 5))])
                wheel.advance(to: now)
                let before = model
                wrong += collect(&wheel, &model, now: now)
                retired += before.keys.filter { model[$0] == nil }.compactMap { before[$0]?.id }
            }
        }
        now += 200 * second
        wheel.advance(to: now)
        wrong += collect(&wheel, &model, now: now)
        #expect(wrong == [])
        #expect(model.isEmpty)
    }

    @Test(
        "a loop that sleeps as long as it is told wakes in time for each, and not in vain for long",
        arguments: 1...10)
    func sleeping(seed: Int) {
        var dice = Dice(seed: UInt64(seed))
        var now = dice.roll(below: 1 << 45)
        var wheel = TimerWheel(capacity: 64, now: now)
        var model: [UInt64: Expected] = [:]
        for word in 0..<64 {
            let deadline = now + dice.roll(below: 100 * second)
            guard let id = wheel.schedule(Token(word: UInt64(word)), at: deadline) else { continue }
            model[UInt64(word)] = Expected(id: id, deadline: deadline, setAt: now)
        }
        var wakes = 0
        while !model.isEmpty, wakes < 1000 {
            let milliseconds = wheel.milliseconds(from: now)
            #expect(milliseconds >= 0)
            now += UInt64(max(milliseconds, 0)) * 1_000_000
            wakes += 1
            wheel.advance(to: now)
            while let token = wheel.popDue() {
                guard let timer = model.removeValue(forKey: token.word) else { continue }
                #expect(timer.deadline <= now && now <= timer.deadline + tick + 1_000_000)
            }
        }
        // Each timer, and a look at the far ones in each turn.
        #expect(model.isEmpty && wakes <= 64 * 4)
        #expect(wheel.milliseconds(from: now) == -1)
    }

    @Test("so does one that sets and cancels timers between, and is woken early", arguments: 1...20)
    func busy(seed: Int) {
        var dice = Dice(seed: UInt64(seed))
        var now = dice.roll(below: 1 << 45)
        var wheel = TimerWheel(capacity: 64, now: now)
        var model: [UInt64: Expected] = [:]
        for word in 0..<4000 {
            switch dice.roll(below: 4) {
            case 0:
                // Near, on the other side of the wheel, and past a turn of it.
                let range = [second / 10, 30 * second, 90 * second][Int(dice.roll(below: 3))]
                let deadline = now + dice.roll(below: range)
                guard let id = wheel.schedule(Token(word: UInt64(word)), at: deadline) else { continue }
                model[UInt64(word)] = Expected(id: id, deadline: deadline, setAt: now)
            case 1:
                guard let (key, timer) = model.min(by: { $0.key < $1.key }) else { continue }
                wheel.cancel(timer.id)
                model[key] = nil
            default:
                let milliseconds = wheel.milliseconds(from: now)
                #expect((milliseconds < 0) == model.isEmpty)
                let sleep = UInt64(max(milliseconds, 0)) * 1_000_000
                now += dice.roll(below: 2) == 0 ? sleep : dice.roll(below: sleep + 1)
                wheel.advance(to: now)
                while let token = wheel.popDue() {
                    guard let timer = model.removeValue(forKey: token.word) else {
                        Issue.record("a timer fired that was not set")
                        continue
                    }
                    #expect(timer.deadline <= now && now <= timer.deadline + tick + 1_000_000)
                }
            }
        }
    }

    @Test("one that is due and not yet taken lets the loop not sleep, and can still be cancelled") func due()
    {
        var wheel = TimerWheel(capacity: 4, now: 0)
        let first = wheel.schedule(Token(word: 1), at: 10)
        _ = wheel.schedule(Token(word: 2), at: 10)
        wheel.advance(to: second)
        #expect(wheel.milliseconds(from: second) == 0)
        if let first { wheel.cancel(first) }
        let only = wheel.popDue()
        let none = wheel.popDue()
        #expect(only?.word == 2 && none == nil && wheel.count == 0)
    }

    @Test("a deadline at the end of time neither traps nor fires") func endOfTime() {
        var wheel = TimerWheel(capacity: 4, now: 5 * second)
        let id = wheel.schedule(Token(word: 1), at: .max)
        #expect(id != nil)
        for step in 1...3 { wheel.advance(to: 5 * second + UInt64(step) * 40 * second) }
        let fired = wheel.popDue()
        #expect(fired == nil)
        let wait = wheel.milliseconds(from: 125 * second)
        #expect(wait > 0 && wait <= 60_000)
    }

    @Test("time that stands still fires nothing again") func standing() {
        var wheel = TimerWheel(capacity: 4, now: 0)
        _ = wheel.schedule(Token(word: 1), at: 3 * tick)
        for _ in 0..<3 { wheel.advance(to: 3 * tick) }
        let early = wheel.popDue()
        wheel.advance(to: 4 * tick)
        let onTime = wheel.popDue()
        wheel.advance(to: 4 * tick)
        let again = wheel.popDue()
        #expect(early == nil && onTime?.word == 1 && again == nil)
    }
}

extension Dictionary {
    fileprivate func randomMember(_ dice: inout Dice) -> Element? {
        isEmpty ? nil : self[index(startIndex, offsetBy: Int(dice.roll(below: UInt64(count))))]
    }
}
