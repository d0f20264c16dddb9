<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Drained;
use B24\MessageService\Exception;
use B24\MessageService\Exception\InvalidArgument;
use B24\MessageService\Exception\InvalidConfig;
use B24\MessageService\Exception\MessageServiceException;
use B24\MessageService\Provider;
use B24\MessageService\Request;
use B24\MessageService\RequestKind;
use B24\MessageService\Status;
use B24\Portal\Portal;
use PHPUnit\Framework\TestCase;

/**
 * A provider with its store, and the portals of the emulator.
 */
final class ProviderTest extends TestCase
{
    use InDirectory;

    private const MEMBER = '0123456789abcdef0123456789abcdef';

    /**
     * @param array<string, mixed> $more
     * @return array<string, mixed>
     */
    private function options(Portal $portal, array $more = []): array
    {
        return $portal->providerOptions($more + [
            'store' => "sqlite:$this->directory/b24.db",
            'durability' => 'process',
            'rate_limit' => 'off',
        ]);
    }

    /**
     * @param array<string, mixed> $more
     */
    private function provider(Portal $portal, array $more = []): Provider
    {
        return new Provider($this->options($portal, $more));
    }

    /**
     * @param array<string, mixed> $posted
     */
    private static function receive(Provider $provider, array $posted): Request
    {
        return $provider->receive($posted['content_type'], $posted['body']);
    }

    /**
     * The provider, after the portal has told it of the installation, and the portal's permanent id.
     *
     * @param array<string, mixed> $more
     * @return array{Provider, string}
     */
    private function installed(Portal $portal, array $more = []): array
    {
        $provider = $this->provider($portal, $more);
        return [$provider, self::receive($provider, $portal->install())->memberId];
    }

    /**
     * @return array<int> sent, refused, held and waiting
     */
    private static function counts(Drained $drained): array
    {
        return [$drained->sent, $drained->refused, $drained->held, $drained->waiting];
    }

    public function testACallMayHaveATimeoutOfItsOwn(): void
    {
        $portal = Portal::fresh();
        [$provider, $member] = $this->installed($portal);
        $limited = $provider->withTimeout(20);
        $limited->report($member, 'provider1', 'm1', 'sent');
        $limited->close();
        // The end of the limited one has not ended it.
        self::assertSame(1, $provider->inspect()[0]->waiting);
        $this->expectException(InvalidArgument::class);
        $provider->withTimeout(0);
    }

    public function testTheWholeWayOfAMessage(): void
    {
        $portal = Portal::fresh();
        $provider = $this->provider($portal);
        $install = self::receive($provider, $portal->install());
        self::assertSame(RequestKind::Install, $install->kind);
        self::assertNotSame('', $install->memberId);

        $posted = $portal->message(['phone' => '+15550199', 'text' => 'Ö & b']);
        $message = self::receive($provider, $posted);
        self::assertSame(
            [RequestKind::Message, $install->memberId, $posted['message_id'], '+15550199', 'Ö & b', ''],
            [
                $message->kind,
                $message->memberId,
                $message->get('message_id'),
                $message->get('message_to'),
                $message->get('message_body'),
                $message->get('no such field'),
            ]
        );
        self::assertStringContainsString($portal->host, $message->clientEndpoint);
        self::assertSame($message->clientEndpoint, $message->get('client_endpoint'));
        self::assertSame($message->memberId, $message->fields['auth[member_id]']);
        self::assertSame('provider1', $message->fields['code']);

        $provider->track('op-1', $message->memberId, 'provider1', $posted['message_id']);
        $provider->reportReference('op-1', Status::Delivered);
        $drained = $provider->drain(1);
        self::assertSame([1, 0, 0, 0], self::counts($drained));
        self::assertNull($drained->nextDue);
        self::assertSame(["provider1|{$posted['message_id']}" => 'delivered'], $portal->messages());

        $uninstall = self::receive($provider, $portal->uninstall());
        self::assertSame(RequestKind::Uninstall, $uninstall->kind);
        self::assertSame([], $portal->seen()['bad']);
    }

    public function testAFrameInstallsOnlyWhenItIsTold(): void
    {
        $portal = Portal::fresh();
        $provider = $this->provider($portal);
        $frame = self::receive($provider, $portal->install(['as' => 'frame']));
        self::assertSame(RequestKind::Frame, $frame->kind);
        self::assertSame([], array_filter($provider->inspect(), static fn ($state) => $state->state === 'active'));
        $provider->installRequest($frame);
        self::assertSame('active', $provider->inspect()[0]->state);
    }

    public function testAnAnswerOfTheAuthorizationServerInstallsAsTextAndAsAnArray(): void
    {
        $portal = Portal::fresh();
        $auth = $portal->install(['as' => 'oauth'])['body'];
        $provider = $this->provider($portal);
        $provider->install($auth);
        $provider->install(json_decode($auth, true), 'application-token-of-the-settings');
        self::assertCount(1, $provider->inspect());
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage('auth cannot be written as JSON');
        $provider->install(['access_token' => "\xff"]);
    }

    public function testAClientOfTheProviderMakesCallsAndOutlivesIt(): void
    {
        $portal = Portal::fresh(['senders' => ['provider1']]);
        [$provider, $memberId] = $this->installed($portal);
        $client = $provider->client($memberId);
        $provider->close();
        unset($provider);
        self::assertSame(['provider1'], $client->senderList());
        $client->messageStatusUpdate('provider1', 'm1', Status::Sent);
        self::assertSame(['provider1|m1' => 'sent'], $portal->messages());
        self::assertSame($memberId, $client->tokens()->memberId);
        self::assertStringContainsString($memberId, print_r($client, true));
        $this->expectException(\LogicException::class);
        serialize($client);
    }

    public function testAStatusIsGivenAsForAClient(): void
    {
        $portal = Portal::fresh();
        [$provider, $memberId] = $this->installed($portal);
        $provider->report($memberId, 'provider1', 42, Status::Sent);
        $provider->report($memberId, 'provider1', 'm1', 'DELIVERED');
        self::assertSame([2, 0, 0, 0], self::counts($provider->drain(1)));
        self::assertEquals(['provider1|42' => 'sent', 'provider1|m1' => 'delivered'], $portal->messages());
    }

    public function testWithinARankTheLaterTimeStands(): void
    {
        $portal = Portal::fresh();
        [$provider, $memberId] = $this->installed($portal);
        $time = new \DateTimeImmutable('2025-03-25 10:00:00.250', new \DateTimeZone('Asia/Tokyo'));
        $provider->report($memberId, 'provider1', 'm1', 'undelivered', $time);
        $provider->report($memberId, 'provider1', 'm1', 'failed', $time->modify('-1 msec'));
        $provider->report($memberId, 'provider1', 'm2', 'undelivered', \DateTime::createFromImmutable($time));
        $provider->report($memberId, 'provider1', 'm2', 'failed', $time->modify('+1 msec'));
        $provider->track('op-3', $memberId, 'provider1', 'm3');
        $provider->reportReference('op-3', 'delivered', $time);
        $provider->reportReference('op-3', 'failed', $time->modify('-1 day'));
        $provider->drain(1);
        self::assertEquals(
            ['provider1|m1' => 'undelivered', 'provider1|m2' => 'failed', 'provider1|m3' => 'delivered'],
            $portal->messages()
        );
    }

    public function testTheFirstMomentOf1970IsNotNow(): void
    {
        $portal = Portal::fresh();
        [$provider, $memberId] = $this->installed($portal);
        $provider->report($memberId, 'provider1', 'm1', 'delivered', new \DateTimeImmutable('2025-03-25'));
        $provider->report($memberId, 'provider1', 'm1', 'failed', new \DateTimeImmutable('@0'));
        $provider->report($memberId, 'provider1', 'm1', 'undelivered', new \DateTimeImmutable('@-100'));
        $provider->drain(1);
        self::assertSame(['provider1|m1' => 'delivered'], $portal->messages());
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage('at is too far away');
        $provider->report($memberId, 'provider1', 'm1', 'failed', new \DateTimeImmutable('@' . PHP_INT_MAX));
    }

    public function testOperatorsMayGiveTheSameReference(): void
    {
        $portal = Portal::fresh();
        [$provider, $memberId] = $this->installed($portal);
        $provider->track('7', $memberId, 'provider1', 'm1', operator: 'a');
        $provider->track('7', $memberId, 'provider1', 'm2', operator: 'b');
        $provider->reportReference('7', 'delivered', operator: 'a');
        $provider->reportReference('7', 'failed', operator: 'b');
        $provider->drain(1);
        self::assertEquals(['provider1|m1' => 'delivered', 'provider1|m2' => 'failed'], $portal->messages());
    }

    public function testEachReceiptOfManyHasItsOwnOutcome(): void
    {
        $portal = Portal::fresh();
        [$provider, $memberId] = $this->installed($portal);
        $at = new \DateTimeImmutable('-1 hour');
        $receipts = (static function () use ($memberId, $at): \Generator {
            yield 'a key' => [$memberId, 'provider1', 'm1', 'sent'];
            yield 'a key' => [self::MEMBER, 'provider1', 'm1', 'sent'];
            yield 'nonsense';
            yield [$memberId, 'provider1', 'm2'];
            yield [$memberId, 'provider1', 'm2', 'sent', null, 'more'];
            yield [7, 'provider1', 'm2', 'sent'];
            yield ["$memberId\0", 'provider1', 'm2', 'sent'];
            yield [$memberId, 'provider1', 'm2', 'sent', 'yesterday'];
            yield [$memberId, 'no code!', 'm2', 'sent'];
            yield [$memberId, 'provider1', 'm2', 'lost', $at];
            yield [$memberId, 'provider1', null, 'sent'];
            yield ['member' => $memberId, 'code' => 'provider1', 'id' => 3, 'status' => Status::Failed, 'at' => $at];
            yield [$memberId, 'provider1', 'm4', 'delivered', null];
        })();
        $outcomes = $provider->reportMany($receipts);
        self::assertSame(range(0, 12), array_keys($outcomes));
        $faults = array_filter($outcomes);
        self::assertSame(range(2, 10), array_keys($faults));
        $told = ['not string', '3 values', '6 values', 'is a int', 'NUL', 'DateTimeInterface', 'code', 'lost', 'null'];
        foreach (array_values($faults) as $number => $fault) {
            self::assertInstanceOf(InvalidArgument::class, $fault);
            self::assertStringContainsString($told[$number], $fault->getMessage());
        }
        $drained = $provider->drain(1);
        self::assertSame([3, 1], [$drained->sent, $drained->waiting]);
        self::assertEquals(
            ['provider1|m1' => 'sent', 'provider1|3' => 'failed', 'provider1|m4' => 'delivered'],
            $portal->messages()
        );
        self::assertSame([], $provider->reportMany([]));
    }

    /**
     * So that a generator that reads a queue ends when the program is told to.
     */
    public function testHandlersOfSignalsRunWhileReceiptsAreMade(): void
    {
        if (!extension_loaded('pcntl')) {
            self::markTestSkipped('needs the pcntl extension');
        }
        [$provider, $memberId] = $this->installed(Portal::fresh());
        $isEnded = false;
        $async = pcntl_async_signals(true);
        pcntl_signal(SIGUSR1, static function () use (&$isEnded): void {
            $isEnded = true;
        });
        $receipts = static function () use ($memberId, &$isEnded): \Generator {
            for ($number = 1; $number < 10 && !$isEnded; $number++) {
                yield [$memberId, 'provider1', "m$number", 'sent'];
                posix_kill(posix_getpid(), SIGUSR1);
            }
        };
        try {
            self::assertSame([null], $provider->reportMany($receipts()));
            self::assertTrue(pcntl_async_signals());
        } finally {
            pcntl_signal(SIGUSR1, SIG_DFL);
            pcntl_async_signals($async);
        }
    }

    public function testABatchHasItsOutcomes(): void
    {
        $portal = Portal::fresh();
        [$provider, $memberId] = $this->installed($portal);
        $updates = [['provider1', 1, 'sent'], ['provider1', 2], ['provider1', 3, Status::Failed], ['?', 4, 'sent']];
        $kinds = array_map(
            static fn (?MessageServiceException $fault): ?string => $fault?->kind(),
            $provider->reportBatch($memberId, $updates)
        );
        self::assertSame([null, 'INVALID_ARGUMENT', null, 'INVALID_ARGUMENT'], $kinds);
        self::assertSame([2, 0, 0, 0], self::counts($provider->drain(1)));
        self::assertSame(1, $portal->seen()['batches']);
        $this->expectException(InvalidArgument::class);
        $provider->reportBatch("$memberId\0", $updates);
    }

    public function testWhatWasRefusedIsReadPageByPage(): void
    {
        $portal = Portal::fresh();
        [$provider, $memberId] = $this->installed($portal);
        $updates = array_map(static fn (int $number): array => ['provider1', "m$number", 'sent'], range(1, 2500));
        self::assertSame([], array_filter($provider->reportBatch($memberId, $updates)));
        $state = $provider->inspect()[0];
        self::assertSame([$memberId, 2500, 0], [$state->memberId, $state->waiting, $state->refused]);
        self::assertStringContainsString($portal->host, $state->clientEndpoint);
        self::assertIsFloat($state->oldest);
        self::assertIsFloat($state->nextDue);

        self::receive($provider, $portal->uninstall());
        self::assertSame([0, 2500, 0, 0], self::counts($provider->drain(2)));
        $refused = iterator_to_array($provider->refused());
        self::assertTrue(array_keys($refused) === range(0, 2499));
        $ids = array_column($refused, 'messageId');
        self::assertCount(2500, array_unique($ids));
        $one = $refused[1700];
        self::assertSame(
            [$memberId, 'provider1', '', Status::Sent],
            [$one->memberId, $one->code, $one->reference, $one->status]
        );
        self::assertNotSame('', $one->reason);
        self::assertEqualsWithDelta(time(), $one->at->getTimestamp(), 60);
        self::assertSame(
            array_slice($ids, 1701),
            array_column(iterator_to_array($provider->refused($one->cursor), false), 'messageId')
        );
        $provider->prune(0);
        self::assertSame([], iterator_to_array($provider->refused()));
    }

    public function testAHeldPortalIsResumed(): void
    {
        $portal = Portal::fresh();
        [$provider, $memberId] = $this->installed($portal);
        $portal->set(['answer' => ['status' => 401, 'error' => 'PAYMENT_REQUIRED', 'description' => '']]);
        $provider->report($memberId, 'provider1', 'm1', 'sent');
        self::assertSame([0, 0, 1, 0], self::counts($provider->drain(1)));
        $state = $provider->inspect()[0];
        self::assertSame('held', $state->state);
        self::assertStringContainsString('PAYMENT_REQUIRED', $state->reason);
        $portal->set(['answer' => null]);
        $provider->resume($memberId);
        self::assertSame([1, 0, 0, 0], self::counts($provider->drain(1)));
    }

    public function testTheInstallationsOfAStateDirAreImported(): void
    {
        $portal = Portal::fresh(['expired' => true]);
        mkdir("$this->directory/state", 0700);
        $client = $portal->client($portal->renewable(['state_dir' => "$this->directory/state"]));
        $client->messageStatusUpdate('provider1', 'm1', 'sent');
        // The client has called the portal without a port, and that is the address that was kept.
        $resolve = [...$portal->resolve(), ...$portal->providerOptions()['resolve']];
        $provider = $this->provider($portal, ['resolve' => $resolve]);
        self::assertSame(1, $provider->importStateDir("$this->directory/state"));
        self::assertSame(0, $provider->importStateDir("$this->directory/state"));
        $memberId = $provider->inspect()[0]->memberId;
        $provider->client($memberId)->messageStatusUpdate('provider1', 'm2', 'sent');
        self::assertCount(2, $portal->messages());
        $this->expectException(MessageServiceException::class);
        $portal->set(['expired' => true]);
        $client->messageStatusUpdate('provider1', 'm3', 'sent');
    }

    public function testProvidersOnOneStoreSeeTheSame(): void
    {
        $portal = Portal::fresh();
        [$first, $memberId] = $this->installed($portal);
        $first->report($memberId, 'provider1', 'm1', 'sent');
        $second = $this->provider($portal);
        self::assertSame(1, $second->inspect()[0]->waiting);
        $first->close();
        self::assertSame([1, 0, 0, 0], self::counts($second->drain(1)));
    }

    public function testParentAndChildOfAForkShareTheStore(): void
    {
        if (!function_exists('pcntl_fork')) {
            self::markTestSkipped('PHP has no pcntl here');
        }
        $portal = Portal::fresh();
        [$provider, $memberId] = $this->installed($portal);
        $provider->close();
        $options = var_export($this->options($portal), true);
        $done = Program::code(<<<PHP
            \$provider = new B24\MessageService\Provider($options);
            \$provider->report('$memberId', 'provider1', 'before', 'sent');
            \$child = pcntl_fork();
            if (\$child === 0) {
                \$provider->report('$memberId', 'provider1', 'child', 'sent');
                echo \$provider->drain(1)->waiting, ' ';
                exit(7);
            }
            pcntl_waitpid(\$child, \$status);
            \$provider->report('$memberId', 'provider1', 'parent', 'sent');
            \$provider->drain(1);
            echo pcntl_wexitstatus(\$status);
            PHP);
        self::assertSame([0, '0 7', ''], [$done->exit, $done->output, $done->errors]);
        self::assertCount(3, $portal->messages());
    }

    public function testADrainStartsNoThreadsUnlessItIsTold(): void
    {
        $portal = Portal::fresh(['latency_ms' => 300]);
        [$provider, $memberId] = $this->installed($portal);
        $provider->close();
        foreach ([[[], 0], [['workers' => null], 0], [['workers' => 2], 1]] as [$more, $least]) {
            $options = var_export($this->options($portal, $more), true);
            // Threads that have ended leave no trace, so a child looks while the parent drains.
            $done = Program::code(<<<PHP
                \$provider = new B24\MessageService\Provider($options);
                \$provider->report('$memberId', 'provider1', uniqid(), 'sent');
                \$watcher = pcntl_fork();
                if (\$watcher === 0) {
                    \$most = 0;
                    for (\$end = microtime(true) + 0.8; microtime(true) < \$end; usleep(2000)) {
                        \$most = max(\$most, count(glob('/proc/' . posix_getppid() . '/task/*')) - 1);
                    }
                    echo \$most;
                    posix_kill(posix_getpid(), SIGKILL);
                }
                \$provider->drain(0.5);
                pcntl_waitpid(\$watcher, \$status);
                PHP);
            self::assertSame('', $done->errors);
            self::assertGreaterThanOrEqual($least, (int) $done->output);
            $least === 0 && self::assertSame('0', $done->output);
        }
    }

    public function testNothingIsLeakedOverTenThousandCalls(): void
    {
        $portal = Portal::fresh();
        [$provider, $memberId] = $this->installed($portal);
        $posted = var_export($portal->message(), true);
        $provider->close();
        $options = var_export($this->options($portal), true);
        $done = Program::code(<<<PHP
            use B24\MessageService\Provider;
            use B24\MessageService\Vocabulary;
            use B24\MessageService\Exception\MessageServiceException;
            \$posted = $posted;
            \$provider = new Provider($options);
            \$calls = [
                fn () => \$provider->receive(\$posted['content_type'], \$posted['body'])->get('message_id'),
                fn () => \$provider->receive('application/json', 'nonsense'),
                fn () => \$provider->client('$memberId')->tokens(),
                fn () => \$provider->client('nobody'),
                fn () => \$provider->report('$memberId', 'provider1', 'm1', 'sent'),
                fn () => \$provider->report('$memberId', 'no code!', 'm1', 'sent'),
                fn () => \$provider->reportBatch('$memberId', [['provider1', 'm1', 'sent'], ['?', 'm1', 'sent']]),
                fn () => \$provider->inspect(),
                fn () => iterator_to_array(\$provider->refused()),
                fn () => (new Vocabulary('smpp'))->status('DELIVRD'),
                fn () => new Vocabulary('mine', ['OK' => 'sent', 'no' => 'no status']),
            ];
            \$resident = fn () => (int) explode(' ', file_get_contents('/proc/self/statm'))[1] * 4;
            \$round = function (int \$count) use (\$calls): void {
                while (\$count-- > 0) {
                    foreach (\$calls as \$call) {
                        try {
                            \$call();
                        } catch (MessageServiceException) {
                        }
                    }
                }
            };
            \$round(200);
            \$before = \$resident();
            \$round(1000);
            echo \$resident() - \$before, ' KiB';
            PHP);
        self::assertSame('', $done->errors);
        self::assertMatchesRegularExpression('/^-?\d+ KiB$/', $done->output);
        // A handle that is not freed takes 100 bytes or more, 10,000 of them a megabyte.
        self::assertLessThan(1000, (int) $done->output);
    }

    public function testAClosedProviderSaysSo(): void
    {
        $portal = Portal::fresh();
        [$provider, $memberId] = $this->installed($portal);
        $request = self::receive($provider, $portal->message());
        $provider->close();
        $provider->close();
        self::assertSame($memberId, $request->memberId, 'a request does not need it');
        $calls = [
            static fn () => $provider->receive('', ''),
            static fn () => $provider->report($memberId, 'provider1', 'm1', 'sent'),
            static fn () => $provider->reportBatch($memberId, [['provider1', 'm1', 'sent']]),
            static fn () => $provider->drain(0),
            static fn () => $provider->inspect(),
            static fn () => iterator_to_array($provider->refused()),
            static fn () => $provider->cancel(),
            static fn () => $provider->client($memberId),
        ];
        foreach ($calls as $call) {
            try {
                $call();
                self::fail('it was taken');
            } catch (InvalidArgument $fault) {
                self::assertStringContainsString('is closed', $fault->getMessage());
            }
        }
    }

    public function testACancelWithoutCallsUnderWayDoesNothing(): void
    {
        $portal = Portal::fresh();
        [$provider, $memberId] = $this->installed($portal);
        $provider->cancel();
        $provider->report($memberId, 'provider1', 'm1', 'sent');
        self::assertSame([1, 0, 0, 0], self::counts($provider->drain(1)));
    }

    /**
     * @return array<string, array{\Closure(Provider): mixed, string}>
     */
    public static function badCalls(): array
    {
        $nul = "a\0b";
        return [
            'content type' => [static fn ($p) => $p->receive($nul, ''), 'content type contains a NUL'],
            'body' => [static fn ($p) => $p->receive('application/json', '{'), 'cannot be read'],
            'auth' => [static fn ($p) => $p->install($nul), 'auth contains a NUL'],
            'auth that is not JSON' => [static fn ($p) => $p->install('nonsense'), 'auth'],
            'application token' => [static fn ($p) => $p->install('{}', $nul), 'application token contains a NUL'],
            'path' => [static fn ($p) => $p->importStateDir($nul), 'path contains a NUL'],
            'client' => [static fn ($p) => $p->client($nul), 'member id contains a NUL'],
            'client of nobody' => [static fn ($p) => $p->client(self::MEMBER), self::MEMBER],
            'reference' => [static fn ($p) => $p->track($nul, 'm', 'c', 'i'), 'reference contains a NUL'],
            'empty reference' => [static fn ($p) => $p->track('', self::MEMBER, 'c', 'i'), 'reference'],
            'long reference' => [static fn ($p) => $p->track(str_repeat('r', 256), self::MEMBER, 'c', 'i'), '255'],
            'member of a reference' => [static fn ($p) => $p->track('r', $nul, 'c', 'i'), 'member id contains a NUL'],
            'code of a reference' => [static fn ($p) => $p->track('r', 'm', $nul, 'i'), 'code contains a NUL'],
            'message of a reference' => [static fn ($p) => $p->track('r', 'm', 'c', $nul), 'message id contains a NUL'],
            'operator' => [static fn ($p) => $p->track('r', 'm', 'c', 'i', operator: $nul), 'operator contains a NUL'],
            'member id' => [static fn ($p) => $p->report($nul, 'c', 'i', 'sent'), 'member id contains a NUL'],
            'empty member id' => [static fn ($p) => $p->report('', 'c', 'i', 'sent'), 'member'],
            'code' => [static fn ($p) => $p->report(self::MEMBER, 'no code!', 'i', 'sent'), 'code'],
            'message id' => [static fn ($p) => $p->report(self::MEMBER, 'c', '', 'sent'), 'message id'],
            'status' => [static fn ($p) => $p->report(self::MEMBER, 'c', 'i', 'lost'), 'lost'],
            'status with a NUL' => [static fn ($p) => $p->report('m', 'c', 'i', $nul), 'status contains a NUL'],
            'status of a reference' => [static fn ($p) => $p->reportReference('r', 'lost'), 'lost'],
            'operator of a receipt' => [
                static fn ($p) => $p->reportReference('r', 'sent', operator: $nul), 'operator contains a NUL',
            ],
            'negative drain' => [static fn ($p) => $p->drain(-1), 'seconds'],
            'drain without end' => [static fn ($p) => $p->drain(NAN), 'seconds'],
            'cursor' => [static fn ($p) => iterator_to_array($p->refused($nul)), 'after contains a NUL'],
            'cursor that is none' => [static fn ($p) => iterator_to_array($p->refused('nonsense')), 'after'],
            'resume' => [static fn ($p) => $p->resume($nul), 'member id contains a NUL'],
            'negative prune' => [static fn ($p) => $p->prune(-1), 'keep_seconds'],
        ];
    }

    /**
     * @dataProvider badCalls
     * @param \Closure(Provider): mixed $call
     */
    public function testABadArgumentIsNamed(\Closure $call, string $told): void
    {
        $provider = $this->provider(Portal::fresh());
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage($told);
        $call($provider);
    }

    /**
     * @return array<string, array{array<string, mixed>, string}>
     */
    public static function badOptions(): array
    {
        return [
            'none' => [['store' => null], 'store'],
            'not a store' => [['store' => 'b24.db'], 'store'],
            'of a client' => [['access_token' => 'x'], 'access_token'],
            'portal' => [['portal' => 'portal.bitrix24.test'], 'portal'],
            'no secret' => [['client_secret' => null], 'client_secret'],
            'workers' => [['workers' => 'many'], 'workers'],
            'unknown' => [['stoer' => 'x'], 'stoer'],
            'NUL' => [['store' => "sqlite:/tmp/b24\0.db"], 'store contains a NUL'],
            'an object' => [['store' => new \stdClass()], 'store is a stdClass'],
        ];
    }

    /**
     * @dataProvider badOptions
     * @param array<string, mixed> $options
     */
    public function testABadOptionIsNamed(array $options, string $named): void
    {
        $this->expectException(InvalidConfig::class);
        $this->expectExceptionMessage($named);
        $this->provider(Portal::fresh(), $options);
    }

    public function testAStoreThatOthersCanReadIsRefused(): void
    {
        touch("$this->directory/b24.db");
        chmod("$this->directory/b24.db", 0644);
        $this->expectException(InvalidConfig::class);
        $this->provider(Portal::fresh());
    }

    public function testWhoIsNotThePortalIsDenied(): void
    {
        $portal = Portal::fresh();
        [$provider] = $this->installed($portal);
        $this->expectException(Exception\AccessDenied::class);
        self::receive($provider, $portal->message(['forge' => 'token']));
    }

    public function testABodyMayHaveAnyBytes(): void
    {
        $portal = Portal::fresh();
        [$provider] = $this->installed($portal);
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage('cannot be read');
        // Not cut off at the NUL, behind which it would be a message like any other.
        $provider->receive('', $portal->message()['body'] . "\0");
    }
}
