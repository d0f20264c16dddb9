<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Exception\InvalidArgument;
use B24\MessageService\Exception\MessageNotFound;
use B24\MessageService\Provider;
use B24\Portal\Portal;
use PHPUnit\Framework\TestCase;

/**
 * Outcomes that have their receipts.
 */
final class OutcomeTest extends TestCase
{
    use InDirectory;

    public function testEachReceiptOfAQueueHasItsOutcome(): void
    {
        $portal = Portal::fresh(['messages' => ['provider1|m1', 'provider1|m3']]);
        $queue = (static function (): \Generator {
            yield 'tag 1' => ['provider1', 'm1', 'sent'];
            yield 'tag 2' => ['provider1', 'm2', 'sent'];
            yield 'tag 2' => ['provider1', 'm3'];
            yield 'tag 4' => ['provider1', 'm3', 'delivered'];
        })();
        $outcomes = $portal->client()->messageStatusUpdateOutcomes($queue);
        self::assertSame(['tag 1', 'tag 2', 'tag 2', 'tag 4'], array_column($outcomes, 'key'));
        self::assertSame(['provider1', 'm2', 'sent'], $outcomes[1]->receipt);
        self::assertSame([true, false, false, true], array_map(static fn ($outcome) => $outcome->isDone(), $outcomes));
        self::assertInstanceOf(MessageNotFound::class, $outcomes[1]->error);
        self::assertInstanceOf(InvalidArgument::class, $outcomes[2]->error);
        self::assertFalse($outcomes[1]->isRetryable());
        self::assertSame([], $portal->client()->messageStatusUpdateOutcomes([]));
    }

    public function testWhatMaySucceedLaterIsToldSo(): void
    {
        $portal = Portal::fresh();
        $portal->fault('status', ['status' => 503]);
        $client = $portal->client(['max_retries' => 0]);
        [$outcome] = $client->messageStatusUpdateOutcomes([7 => ['provider1', 'm1', 'sent']]);
        self::assertSame([7, true], [$outcome->key, $outcome->isRetryable()]);
    }

    public function testAProviderStoresThemWithTheirReceipts(): void
    {
        $portal = Portal::fresh();
        $provider = new Provider($portal->providerOptions(['store' => "sqlite:$this->directory/b24.db"]));
        $posted = $portal->install();
        $member = $provider->receive($posted['content_type'], $posted['body'])->memberId;
        $outcomes = $provider->reportOutcomes([
            'a' => [$member, 'provider1', 'm1', 'sent'],
            'b' => [$member, 'provider1', 'm1', 'nonsense'],
        ]);
        self::assertSame([['a', true], ['b', false]], array_map(
            static fn ($outcome) => [$outcome->key, $outcome->isDone()],
            $outcomes
        ));
        self::assertSame('nonsense', $outcomes[1]->receipt[3]);
    }
}
