<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Client;
use B24\MessageService\Exception\HandlerFailed;
use B24\MessageService\Exception\InvalidArgument;
use B24\MessageService\Exception\MessageNotFound;
use B24\MessageService\Log;
use B24\MessageService\Provider;
use B24\MessageService\Tokens;
use B24\Portal\Portal;
use PHPUnit\Framework\TestCase;

/**
 * What is handed over after a call: log records and renewed tokens.
 */
final class LogTest extends TestCase
{
    use InDirectory {
        tearDown as removeDirectory;
    }

    /** @var list<array{string, string, array<mixed>}> */
    private array $records = [];

    protected function tearDown(): void
    {
        Log::to(null);
        $this->removeDirectory();
    }

    private function keep(string $level): void
    {
        Log::to(new CallableLogger(function (string ...$record): void {
        }), $level);
        Log::to(new CallableLogger(function (string $level, string $message, array $context): void {
            $this->records[] = [$level, $message, $context];
        }), $level);
    }

    public function testRecordsAreHandedOverAfterTheirCall(): void
    {
        $portal = Portal::fresh();
        $client = $portal->client();
        $this->keep('debug');
        $before = new \DateTimeImmutable('-1 minute');
        $client->messageStatusUpdate('provider1', 'm1', 'sent');
        self::assertNotSame([], $this->records);
        [$level, $message, $context] = $this->records[count($this->records) - 1];
        self::assertSame('debug', $level);
        self::assertStringContainsString("portal=$portal->host method=messageservice.message.status.update", $message);
        self::assertStringEndsWith(' ok', $message);
        self::assertStringStartsWith('b24_messageservice', $context['target']);
        self::assertGreaterThan($before, $context['at']);
        self::assertLessThanOrEqual(new \DateTimeImmutable('+1 minute'), $context['at']);
        self::assertStringNotContainsString($portal->accessToken, implode(' ', array_column($this->records, 1)));
    }

    public function testALevelLeavesOutWhatIsBelowIt(): void
    {
        $portal = Portal::fresh(['messages' => []]);
        $client = $portal->client();
        $this->keep('error');
        $client->messageStatusUpdateBatch([['provider1', 'm1', 'sent']]);
        self::assertSame([], $this->records);
        $this->keep('info');
        try {
            $client->messageStatusUpdate('provider1', 'm1', 'sent');
            self::fail('the portal knows no such message');
        } catch (MessageNotFound) {
            self::assertSame(['info'], array_unique(array_column($this->records, 0)));
        }
        $this->expectException(InvalidArgument::class);
        $this->expectExceptionMessage("no level 'verbose'");
        Log::to(null, 'verbose');
    }

    public function testWithoutALoggerNothingWaits(): void
    {
        $portal = Portal::fresh();
        $client = $portal->client();
        $this->keep('debug');
        Log::to(null);
        $client->messageStatusUpdate('provider1', 'm1', 'sent');
        $this->keep('debug');
        Log::flush();
        self::assertSame([], $this->records);
    }

    public function testALoggerThatThrowsDoesNotHideTheOutcome(): void
    {
        $portal = Portal::fresh(['messages' => ['provider1|m1']]);
        $client = $portal->client();
        $full = new \LogicException('no space left');
        Log::to(new CallableLogger(static fn () => throw $full), 'debug');

        $updates = [['provider1', 'm1', 'sent'], ['provider1', 'm2', 'sent']];
        try {
            $client->messageStatusUpdateBatch($updates);
            self::fail('the logger did not throw');
        } catch (HandlerFailed $failed) {
            self::assertSame($full, $failed->getPrevious());
            self::assertNull($failed->outcome[0]);
            self::assertInstanceOf(MessageNotFound::class, $failed->outcome[1]);
            self::assertStringContainsString('do not repeat the call', $failed->getMessage());
        }
        try {
            $client->messageStatusUpdate('provider1', 'm2', 'sent');
            self::fail('the portal knows no such message');
        } catch (MessageNotFound $error) {
            self::assertSame($full, $error->getPrevious());
        }
        self::assertEquals(['provider1|m1' => 'sent'], $portal->messages());
    }

    public function testWhatALoggerWasNotGivenWaitsForTheNextCall(): void
    {
        $client = Portal::fresh()->client();
        $given = [];
        Log::to(new CallableLogger(static function (string $level, string $message) use (&$given): void {
            $given[] = $message;
            if (count($given) === 1) {
                throw new \RuntimeException('once');
            }
        }), 'debug');
        try {
            $client->messageStatusUpdateBatch([['provider1', 'm1', 'sent'], ['provider1', 'm1', 'delivered']]);
            self::fail('the logger did not throw');
        } catch (HandlerFailed) {
            self::assertCount(1, $given);
        }
        $client->messageStatusUpdate('provider1', 'm2', 'sent');
        self::assertSame($given, array_unique($given), 'a record was handed over twice');
        self::assertNotSame([], preg_grep('/method=batch/', $given));
        self::assertNotSame([], preg_grep('/method=messageservice.message.status.update/', $given));
    }

    public function testALoggerMayMakeCallsItself(): void
    {
        $portal = Portal::fresh();
        $client = $portal->client();
        $calls = 0;
        Log::to(new CallableLogger(static function () use ($client, &$calls): void {
            $calls++;
            $client->messageStatusUpdate('provider1', 'log', 'sent');
        }), 'debug');
        $client->messageStatusUpdate('provider1', 'm1', 'sent');
        self::assertGreaterThan(0, $calls);
        self::assertLessThan(10, $calls, 'records of the logger\'s own calls were handed over in the middle of it');
    }

    public function testALoggerMayFlushAndMakeCallsItself(): void
    {
        $client = Portal::fresh()->client();
        [$depth, $most] = [0, 0];
        Log::to(new CallableLogger(static function () use ($client, &$depth, &$most): void {
            $most = max($most, ++$depth);
            if ($depth < 5) {
                $client->messageStatusUpdate('provider1', 'log', 'sent');
                Log::flush();
            }
            $depth--;
        }), 'debug');
        $client->messageStatusUpdate('provider1', 'm1', 'sent');
        self::assertSame(1, $most, 'the logger was called while it ran');
    }

    /**
     * The library bounds what waits there, and counts what is dropped.
     */
    public function testWhatABrokenLoggerIsNotGivenDoesNotGrow(): void
    {
        $client = Portal::fresh()->client();
        Log::to(new CallableLogger(static fn () => throw new \LogicException('no space left')), 'debug');
        $updates = array_map(static fn ($number) => ['provider1', "m$number", 'sent'], range(1, 200));
        $waiting = new \ReflectionProperty(Log::class, 'pending');
        $counts = [];
        for ($calls = 0; $calls < 3; $calls++) {
            try {
                $client->messageStatusUpdateBatch($updates);
                self::fail('the logger did not throw');
            } catch (HandlerFailed) {
                $counts[] = count($waiting->getValue());
            }
        }
        self::assertLessThanOrEqual($counts[0], max($counts), implode(' ', $counts));
        try {
            Log::to(null);
        } catch (\LogicException) {
            self::assertSame([], $waiting->getValue());
        }
    }

    public function testALoggerThatThrowsCanBeReplaced(): void
    {
        $client = Portal::fresh()->client();
        $updates = array_map(static fn ($number) => ['provider1', "m$number", 'sent'], range(1, 200));
        foreach ([false, true] as $isReplaced) {
            Log::to(new CallableLogger(static fn () => throw new \LogicException('no space left')), 'debug');
            try {
                $client->messageStatusUpdateBatch($updates);
                self::fail('the logger did not throw');
            } catch (HandlerFailed) {
            }
            try {
                Log::to($isReplaced ? new CallableLogger(static fn () => null) : null);
                self::fail('the former logger did not throw');
            } catch (\LogicException $failure) {
                $client->messageStatusUpdate('provider1', 'm1', 'sent');
                self::assertSame('no space left', $failure->getMessage());
            }
        }
    }

    public function testAProviderHandsOverTheRecordsOfADrain(): void
    {
        $portal = Portal::fresh();
        $provider = new Provider($portal->providerOptions(['store' => "sqlite:$this->directory/b24.db"]));
        $this->keep('info');
        $posted = $portal->install();
        $provider->receive($posted['content_type'], $posted['body']);
        self::assertNotSame([], preg_grep('/has installed the application/', array_column($this->records, 1)));
    }

    public function testRenewedTokensAreHandedOverOnce(): void
    {
        $portal = Portal::fresh(['expired' => true]);
        $client = new Client($portal->host, $portal->renewable());
        $given = [];
        $client->onRenewal(static function (Tokens $tokens) use (&$given): void {
            $given[] = $tokens;
        });
        self::assertSame([], $given);
        $client->messageStatusUpdate('provider1', 'm1', 'sent');
        $client->withTimeout(20.0)->messageStatusUpdate('provider1', 'm1', 'delivered');
        self::assertCount(1, $given);
        self::assertEquals($client->tokens(), $given[0]);
        self::assertNotSame($portal->accessToken, $given[0]->accessToken);

        // As an FPM worker does with the next web request, whose settings still have the first pair.
        $next = new Client($portal->host, $portal->renewable());
        $again = [];
        $next->onRenewal(static function (Tokens $tokens) use (&$again): void {
            $again[] = $tokens->accessToken;
        });
        $next->messageStatusUpdate('provider1', 'm1', 'sent');
        self::assertSame([$given[0]->accessToken], $again);
    }

    public function testAHandlerThatThrowsIsGivenTheTokensAgain(): void
    {
        $portal = Portal::fresh(['expired' => true]);
        $client = new Client($portal->host, $portal->renewable());
        $given = 0;
        $client->onRenewal(static function (Tokens $tokens) use (&$given): void {
            if (++$given === 1) {
                throw new \RuntimeException('the database is away');
            }
        });
        try {
            $client->messageStatusUpdate('provider1', 'm1', 'sent');
            self::fail('the handler did not throw');
        } catch (HandlerFailed $failed) {
            self::assertNull($failed->outcome);
            self::assertSame('the database is away', $failed->getPrevious()?->getMessage());
        }
        self::assertSame(['provider1|m1' => 'sent'], $portal->messages());
        $client->messageStatusUpdate('provider1', 'm1', 'delivered');
        $client->messageStatusUpdate('provider1', 'm1', 'delivered');
        self::assertSame(2, $given);
    }

    /**
     * The client is gone and its call has timed out when the answer comes.
     */
    public function testALateRenewalIsHandedOverBeforeTheProgramEnds(): void
    {
        $portal = Portal::fresh(['expired' => true]);
        $portal->fault('drip', ['at' => 'oauth', 'ms_per_byte' => 5]);
        $options = $portal->renewable(['timeout_ms' => 700]);
        $done = Program::code(
            '$options = ' . var_export($options, true) . '; $host = ' . var_export($portal->host, true) . ';' . <<<'PHP'
            (function () use ($host, $options): void {
                $client = new B24\MessageService\Client($host, $options);
                $client->onRenewal(function ($tokens): void { echo 'given ', $tokens->accessToken; });
                try {
                    $client->messageStatusUpdate('provider1', 'm1', 'sent');
                } catch (B24\MessageService\Exception\CallTimeout) {
                    echo 'late ';
                }
            })();
            PHP
        );
        self::assertMatchesRegularExpression('/^late given \S+$/', $done->output, $done->errors);
    }

    /**
     * @return array<string, array{string, string}>
     */
    public static function endsOfACall(): array
    {
        return [
            'exit in a handler of signals' => [
                'posix_kill(posix_getpid(), SIGTERM);',
                '',
            ],
            'exit in the logger' => ['', 'exit;'],
        ];
    }

    /**
     * The host's code ends the program in the middle of a call, in a function whose client goes with it. PHP runs no
     * `finally` then.
     *
     * @dataProvider endsOfACall
     */
    public function testRenewedTokensAreHandedOverIfTheProgramIsEndedInACall(string $inCall, string $inLog): void
    {
        $portal = Portal::fresh(['expired' => true]);
        $options = $portal->renewable();
        $tests = var_export(__DIR__, true);
        $done = Program::code(
            '$options = ' . var_export($options, true) . '; $host = ' . var_export($portal->host, true) . ';' . <<<PHP
            require $tests . '/psr/CallableLogger.php';
            use B24\MessageService\Log;
            use B24\MessageService\Tests\CallableLogger;
            pcntl_async_signals(true);
            pcntl_signal(SIGTERM, static fn () => exit('ended '));
            (function () use (\$host, \$options): void {
                \$client = new B24\MessageService\Client(\$host, \$options);
                \$given = 0;
                \$client->onRenewal(static function (\$tokens) use (\$client, &\$given): void {
                    echo "given ", ++\$given, " ";
                });
                Log::to(new CallableLogger(static function () { $inLog }), 'debug');
                B24\MessageService\Handover::after(static function () use (\$client): void {
                    \$client->messageStatusUpdate('provider1', 'm1', 'sent');
                    $inCall
                });
                echo 'not ended';
            })();
            PHP
        );
        self::assertSame(0, $done->exit, $done->errors);
        self::assertSame($inCall === '' ? 'given 1 ' : 'ended given 1 ', $done->output, $done->errors);
    }

    /**
     * A worker has a client for each job.
     */
    public function testTokensThatAHandlerHasThrownAtAreGivenAgainIfItsClientIsGone(): void
    {
        $portal = Portal::fresh(['expired' => true]);
        $given = [];
        $job = static function () use ($portal, &$given): void {
            $client = new Client($portal->host, $portal->renewable());
            $client->onRenewal(static function (Tokens $tokens) use (&$given): void {
                $given[] = $tokens->accessToken;
                if (count($given) < 3) {
                    throw new \RuntimeException('the database is away');
                }
            });
            $client->messageStatusUpdate('provider1', 'm1', 'sent');
        };
        try {
            $job();
            self::fail('the handler did not throw');
        } catch (HandlerFailed) {
            self::assertCount(1, $given);
        }
        try {
            Client::renewalsWait(5.0);
            self::fail('the handler did not throw');
        } catch (HandlerFailed) {
            self::assertCount(2, $given);
        }
        Client::renewalsWait(5.0);
        Client::renewalsWait(5.0);
        self::assertSame(array_fill(0, 3, $given[0]), $given);
    }

    /**
     * Nobody can catch it then, and what is handed over again may fail again.
     */
    public function testWhatIsThrownAsTheProgramEndsIsToldOnce(): void
    {
        $thrown = ['\'the database is away\'' => 'the database is away', '"no row for $tokens->accessToken"' => 'quotes a token'];
        foreach ($thrown as $message => $told) {
            $portal = Portal::fresh(['expired' => true]);
            $options = $portal->renewable();
            $done = Program::code(
                '$options = ' . var_export($options, true) . '; $host = ' . var_export($portal->host, true) . ';' . <<<PHP
                \$client = new B24\MessageService\Client(\$host, \$options);
                \$client->onRenewal(function (\$tokens): void {
                    echo \$tokens->accessToken, "\n";
                    throw new DomainException($message);
                });
                try {
                    \$client->messageStatusUpdate('provider1', 'm1', 'sent');
                } catch (B24\MessageService\Exception\HandlerFailed) {
                }
                PHP,
                ['-d', 'error_log=', '-d', 'log_errors=1']
            );
            self::assertSame(0, $done->exit, $done->errors);
            self::assertSame(1, substr_count($done->errors, 'DomainException'), $done->errors);
            self::assertMatchesRegularExpression('/DomainException.* in Command line code:\d+/', $done->errors);
            self::assertStringContainsString($told, $done->errors);
            self::assertStringNotContainsString('HandlerFailed', $done->errors);
            $token = explode("\n", $done->output)[0];
            self::assertNotSame('', $token);
            self::assertStringNotContainsString($token, $done->errors);
        }
    }
}
