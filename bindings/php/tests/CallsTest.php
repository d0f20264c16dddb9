<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Client;
use B24\MessageService\Exception;
use B24\MessageService\Exception\InvalidArgument;
use B24\MessageService\Exception\MessageNotFound;
use B24\MessageService\Status;
use B24\Portal\Portal;
use PHPUnit\Framework\TestCase;

/**
 * Calls to the emulator: errors, batches, tokens, the shared client, forks.
 */
final class CallsTest extends TestCase
{
    /**
     * Code that makes the client `$client` of a portal.
     *
     * @param array<string, mixed> $options
     */
    private static function newClient(Portal $portal, array $options): string
    {
        $arguments = var_export($portal->host, true) . ', ' . var_export($options, true);
        return '$client = new B24\MessageService\Client(' . $arguments . ');';
    }

    /**
     * @return array<string, array{array<string, mixed>, class-string, ?int, string, bool}>
     */
    public static function refusals(): array
    {
        return [
            'unknown message' => [
                ['messages' => []],
                MessageNotFound::class, 400, 'ERROR_MESSAGE_NOT_FOUND', false,
            ],
            'scope' => [
                ['answer' => ['status' => 403, 'error' => 'insufficient_scope', 'description' => 'No.']],
                Exception\AccessDenied::class, 403, 'insufficient_scope', false,
            ],
            'token' => [
                ['access_token' => 'another'],
                Exception\AuthError::class, 401, 'invalid_token', false,
            ],
            'unknown error' => [
                ['answer' => ['status' => 400, 'error' => 'NEW_ERROR', 'description' => 'New.']],
                Exception\PortalError::class, 400, 'NEW_ERROR', false,
            ],
            'proxy' => [
                ['answer' => ['status' => 502, 'error' => '', 'html' => true]],
                Exception\PortalError::class, 502, '', true,
            ],
            'moved' => [
                ['moved' => [
                    'from' => '{host}', 'status' => 302, 'location' => 'https://thief.example',
                ]],
                Exception\PortalMoved::class, 302, '', false,
            ],
        ];
    }

    /**
     * @dataProvider refusals
     * @param array<string, mixed> $settings
     * @param class-string $class
     */
    public function testARefusalIsAnExceptionOfItsKindThatTellsAll(
        array $settings,
        string $class,
        ?int $httpStatus,
        string $portalCode,
        bool $retryable
    ): void {
        $portal = Portal::fresh();
        $client = $portal->client(['max_retries' => 0]);
        if (isset($settings['moved'])) {
            $settings['moved']['from'] = $portal->host;
        }
        $portal->reset($settings + ['access_token' => $portal->accessToken]);
        try {
            $client->messageStatusUpdate('provider1', 'm1', 'sent');
            self::fail('it was taken');
        } catch (Exception\MessageServiceException $error) {
            self::assertSame(
                [$class, $httpStatus, $portalCode, $retryable],
                [$error::class, $error->httpStatus(), $error->portalCode(), $error->isRetryable()],
                $error->getMessage()
            );
            self::assertSame(
                $settings['answer']['description'] ?? $error->description(),
                $error->description()
            );
        }
        self::assertEquals($error->kind(), $client->messageStatusUpdateBatch([['provider1', 'm1', 'sent']])[0]?->kind());
    }

    public function testWhatTellsHowLongToWaitTellsSeconds(): void
    {
        $portal = Portal::fresh();
        $portal->fault('error', [
            'status' => 503, 'error' => 'QUERY_LIMIT_EXCEEDED', 'headers' => ['Retry-After' => '7'],
        ]);
        try {
            $portal->client(['timeout_ms' => 2000])->messageStatusUpdate('provider1', 'm1', 'sent');
            self::fail('it waited');
        } catch (Exception\RateLimited $error) {
            self::assertTrue($error->isRetryable());
            self::assertGreaterThan(5.0, $error->retryAfter());
            self::assertLessThanOrEqual(7.0, $error->retryAfter());
        }
    }

    public function testAnAnswerThatNeverComesIsACallTimeout(): void
    {
        $portal = Portal::fresh();
        $portal->fault('hang', ['count' => 2]);
        try {
            $portal->client(['timeout_ms' => 200])->messageStatusUpdate('provider1', 'm1', 'sent');
            self::fail('it came');
        } catch (Exception\CallTimeout $error) {
            self::assertSame([true, null], [$error->isRetryable(), $error->httpStatus()]);
        }
    }

    public function testACallMayHaveATimeoutOfItsOwn(): void
    {
        $portal = Portal::fresh();
        $portal->fault('hang', ['count' => 2]);
        $client = $portal->client();
        try {
            $client->withTimeout(0.2)->messageStatusUpdate('provider1', 'm1', 'sent');
            self::fail('it came');
        } catch (Exception\CallTimeout $error) {
            self::assertTrue($error->isRetryable());
        }
        foreach ([0.0, 0.0001, -1.0, NAN, INF] as $seconds) {
            try {
                $client->withTimeout($seconds);
                self::fail("$seconds was taken");
            } catch (Exception\InvalidArgument $error) {
                self::assertStringContainsString('seconds must be', $error->getMessage());
            }
        }
        $portal = Portal::fresh();
        $client = $portal->client();
        $client->withTimeout(20)->messageStatusUpdate('provider1', 'm2', 'sent');
        self::assertSame([null], $client->withTimeout(20)->messageStatusUpdateBatch([['provider1', 'm3', 'sent']]));
        self::assertSame(2, $portal->seen()['requests']);
    }

    public function testWhatIsNotKnownIsNull(): void
    {
        try {
            Portal::fresh()->client()->messageStatusUpdate('', 'm1', 'sent');
            self::fail('it was taken');
        } catch (InvalidArgument $error) {
            self::assertSame(
                ['', '', null, false, null],
                [
                    $error->portalCode(),
                    $error->description(),
                    $error->httpStatus(),
                    $error->isRetryable(),
                    $error->retryAfter(),
                ]
            );
        }
    }

    public function testABatchTakesAGeneratorAndSendsFiftyARequest(): void
    {
        $portal = Portal::fresh();
        $updates = static function (): \Generator {
            for ($number = 1; $number <= 120; ++$number) {
                yield 'any key' => ['provider1', $number, Status::Delivered];
            }
        };
        self::assertSame(array_fill(0, 120, null), $portal->client()->messageStatusUpdateBatch($updates()));
        $seen = $portal->seen();
        self::assertSame([3, 120, []], [$seen['batches'], $seen['commands'], $seen['bad']]);
        self::assertCount(120, $portal->messages());
    }

    public function testUpdatesThatFailedAlikeShareAnException(): void
    {
        $portal = Portal::fresh(['messages' => ['provider1|known']]);
        $outcomes = $portal->client()->messageStatusUpdateBatch([
            ['provider1', 'one', 'sent'],
            ['provider1', 'two', 'sent'],
            ['provider1', 'known', 'sent'],
            ['provider1', 'three', 'no status'],
            ['provider1', 'four', 'sent'],
        ]);
        self::assertInstanceOf(MessageNotFound::class, $outcomes[0]);
        self::assertSame($outcomes[0], $outcomes[1]);
        self::assertNull($outcomes[2]);
        self::assertInstanceOf(InvalidArgument::class, $outcomes[3]);
        self::assertInstanceOf(MessageNotFound::class, $outcomes[4]);
    }

    public function testAnEmptyBatchSendsNothing(): void
    {
        $portal = Portal::fresh();
        self::assertSame([], $portal->client()->messageStatusUpdateBatch([]));
        self::assertSame(0, $portal->seen()['requests']);
    }

    public function testEachEntryOfABatchHasItsOwnFate(): void
    {
        $portal = Portal::fresh(['messages' => ['provider1|m1', 'provider1|m2']]);
        $outcomes = $portal->client()->messageStatusUpdateBatch([
            ['provider1', 'm1', 'sent'],
            'no entry',
            ['provider1', 'm1'],
            ['provider1', 'm1', 'sent', 'more'],
            ['provider1', null, 'sent'],
            ['provider1', 1.5, 'sent'],
            ['provider1', "m\0", 'sent'],
            ['provider1', 'm9', 'sent'],
            ['code' => 'provider1', 'message_id' => 'm2', 'status' => Status::Failed],
        ]);
        $refused = InvalidArgument::class;
        self::assertSame(
            [null, $refused, $refused, $refused, $refused, $refused, $refused, MessageNotFound::class, null],
            array_map(static fn ($outcome) => $outcome === null ? null : $outcome::class, $outcomes)
        );
        $rule = 'an update is an array of code, message id and status';
        self::assertSame("$rule, not string", $outcomes[1]?->getMessage());
        self::assertSame("status is missing: $rule", $outcomes[2]?->getMessage());
        self::assertSame("4 values are too many: $rule", $outcomes[3]?->getMessage());
        self::assertEquals(['provider1|m1' => 'sent', 'provider1|m2' => 'failed'], $portal->messages());
        self::assertSame(3, $portal->seen()['commands']);
    }

    public function testAGeneratorThatThrowsSendsNothingAndThrows(): void
    {
        $portal = Portal::fresh();
        $updates = (static function (): \Generator {
            yield ['provider1', 'm1', 'sent'];
            throw new \DomainException('the database went away');
        })();
        try {
            $portal->client()->messageStatusUpdateBatch($updates);
            self::fail('it was swallowed');
        } catch (\DomainException) {
            self::assertSame(0, $portal->seen()['requests']);
        }
    }

    public function testRenewedTokensAreThere(): void
    {
        $portal = Portal::fresh(['expired' => true]);
        $client = new Client($portal->host, $portal->renewable());
        $before = $client->tokens();
        self::assertSame(
            [$portal->accessToken, $portal->refreshToken, '', null],
            [$before->accessToken, $before->refreshToken, $before->memberId, $before->expires]
        );
        $client->messageStatusUpdate('provider1', 'm1', 'sent');
        $now = $client->tokens();
        $theirs = $portal->tokens();
        self::assertSame(
            [$theirs['access_token'], $theirs['refresh_token'], 'a223c6b3710f85df22e9377d6c4f7553'],
            [$now->accessToken, $now->refreshToken, $now->memberId]
        );
        self::assertSame("https://{$portal->host}/rest/", $now->clientEndpoint);
        self::assertGreaterThan(time(), $now->expires);
        self::assertSame($portal->accessToken, $before->accessToken, 'a snapshot stays what it was');

        $client = null;
        $later = new Client($portal->host, $portal->renewable());
        self::assertEquals($now, $later->tokens(), 'an equal configuration has the same tokens');
    }

    public function testWhoeverComesLaterWithTheOldTokenGetsTheRenewedOneFromStateDir(): void
    {
        $this->inStateDir(function (string $directory): void {
            $portal = Portal::fresh(['expired' => true]);
            $options = ['state_dir' => $directory] + $portal->renewable();
            $code = self::newClient($portal, $options)
                . '$client->messageStatusUpdate("provider1", "m1", "sent"); echo $client->tokens()->accessToken;';
            $outputs = [Program::code($code)->output, Program::code($code)->output];
            $seen = $portal->seen();
            self::assertSame([1, 0], [$seen['renewal_requests'], $seen['spent_tokens']]);
            $token = $portal->tokens()['access_token'];
            self::assertSame([$token, $token], $outputs);
        });
    }

    /**
     * @return array<string, array{string, int}>
     */
    public static function ends(): array
    {
        return [
            'the end of the program' => ['', 0],
            'exit' => ['exit(3);', 3],
            'an exception' => ['ini_set("display_errors", "0"); throw new Exception;', 255],
            'a call at shutdown' => ['register_shutdown_function($call);', 0],
            'a call in a destructor' => [
                '$last = new class ($call) { function __construct(private Closure $call) {}'
                . ' function __destruct() { ($this->call)(); } };',
                0,
            ],
        ];
    }

    /**
     * @dataProvider ends
     */
    public function testTheEndOfAProgramWaitsForARenewal(string $end, int $exit): void
    {
        $portal = Portal::fresh(['expired' => true, 'oauth_latency_ms' => 4000]);
        $this->inStateDir(function (string $directory) use ($portal, $end, $exit): void {
            $options = ['state_dir' => $directory, 'timeout_ms' => 2000] + $portal->renewable();
            $done = Program::code(
                '$call = static function (): void { try {'
                . self::newClient($portal, $options)
                . '    $client->messageStatusUpdate("provider1", "m1", "sent");'
                . '} catch (B24\MessageService\Exception\CallTimeout $e) { echo "timed out"; } };'
                . (str_contains($end, '$call') ? 'new B24\MessageService\Client("p.bitrix24.test", ["access_token" => "t"]);' : '$call();')
                . $end
            );
            self::assertSame([$exit, 'timed out'], [$done->exit, $done->output], $done->errors);
            $tokens = $portal->tokens();
            self::assertFalse($tokens['lost']);
            $stored = implode('', array_map(file_get_contents(...), array_filter(glob("$directory/*") ?: [], is_file(...))));
            self::assertStringContainsString($tokens['refresh_token'], $stored);
            self::assertSame([1, 0], [$portal->seen()['renewals'], $portal->seen()['spent_tokens']]);
        });
    }

    /**
     * When PHP ends it destroys objects that others still use, in the order in which they were made.
     */
    public function testADestroyedClientMakesNoCalls(): void
    {
        $done = Program::code(<<<'PHP'
            final class Last
            {
                public ?Last $self = null;
                public function __construct(private B24\MessageService\Client $client)
                {
                    $this->self = $this;
                }
                public function __destruct()
                {
                    foreach ([
                        fn () => $this->client->tokens(),
                        fn () => $this->client->messageStatusUpdate('provider1', 'm1', 'sent'),
                        fn () => $this->client->messageStatusUpdateBatch([['provider1', 'm1', 'sent']]),
                    ] as $call) {
                        try {
                            $call();
                        } catch (B24\MessageService\Exception\InvalidArgument $e) {
                            echo $e->getMessage(), "\n";
                        }
                    }
                    $this->client->__destruct();
                }
            }
            $client = new B24\MessageService\Client('p.bitrix24.test', ['access_token' => 't', 'proxy' => 'none']);
            $last = new Last($client);
            PHP);
        $refusal = "PHP is ending and has destroyed the client already: make its calls earlier\n";
        self::assertSame([0, str_repeat($refusal, 3)], [$done->exit, $done->output], $done->errors);
    }

    public function testAForkedChildDoesNotWaitForARenewalOfItsParent(): void
    {
        if (!function_exists('pcntl_fork')) {
            self::markTestSkipped('PHP has no pcntl here');
        }
        $portal = Portal::fresh(['expired' => true, 'oauth_latency_ms' => 60000]);
        $this->inStateDir(function (string $directory) use ($portal): void {
            $options = ['state_dir' => $directory, 'timeout_ms' => 2000] + $portal->renewable();
            $control = var_export($portal->control, true);
            $done = Program::code(
                self::newClient($portal, $options)
                . "\$control = $control;"
                . <<<'PHP'
                try {
                    $client->messageStatusUpdate('provider1', 'm1', 'sent');
                } catch (B24\MessageService\Exception\CallTimeout) {
                }
                $child = pcntl_fork();
                if ($child === 0) {
                    exit(7);
                }
                pcntl_waitpid($child, $status);
                echo json_decode(file_get_contents("$control/seen"))->renewals, ' ', pcntl_wexitstatus($status);
                try {
                    B24\MessageService\Client::renewalsWait(0);
                } catch (B24\MessageService\Exception\CallTimeout) {
                    echo ' under way';
                }
                file_get_contents("$control/release", false, stream_context_create(['http' => ['method' => 'POST']]));
                B24\MessageService\Client::renewalsWait(45);
                echo ' ', json_decode(file_get_contents("$control/seen"))->renewals;
                PHP
            );
            self::assertSame([0, '0 7 under way 1', ''], [$done->exit, $done->output, $done->errors]);
            self::assertFalse($portal->tokens()['lost']);
        });
    }

    public function testWaitingForRenewalsTakesSeconds(): void
    {
        Client::renewalsWait(0);
        Client::renewalsWait(0.5);
        foreach ([-1, -0.001, NAN, INF, 1e300] as $seconds) {
            try {
                Client::renewalsWait($seconds);
                self::fail("$seconds was taken");
            } catch (InvalidArgument $refused) {
                self::assertStringContainsString('seconds', $refused->getMessage());
            }
        }
    }

    /**
     * @param callable(string): void $test
     */
    private function inStateDir(callable $test): void
    {
        $directory = sys_get_temp_dir() . '/b24-php-' . bin2hex(random_bytes(8));
        mkdir($directory, 0700);
        try {
            $test($directory);
        } finally {
            array_map(unlink(...), glob("$directory/{*,.[!.]*}", GLOB_BRACE) ?: []);
            rmdir($directory);
        }
    }

    public function testClientsOfAnEqualConfigurationShareOneConnection(): void
    {
        $portal = Portal::fresh();
        for ($number = 1; $number <= 20; ++$number) {
            $portal->client()->messageStatusUpdate('provider1', $number, 'sent');
        }
        $seen = $portal->seen();
        self::assertSame([20, 1], [$seen['requests'], $seen['connections']]);
    }

    public function testParentAndChildOfAForkEachHaveTheirOwnConnection(): void
    {
        if (!function_exists('pcntl_fork')) {
            self::markTestSkipped('PHP has no pcntl here');
        }
        $portal = Portal::fresh();
        $code = self::newClient($portal, $portal->options())
            . <<<'PHP'
            $client->messageStatusUpdate('provider1', 'before', 'sent');
            $child = pcntl_fork();
            if ($child === 0) {
                $client->messageStatusUpdate('provider1', 'child', 'sent');
                exit(7);
            }
            pcntl_waitpid($child, $status);
            $client->messageStatusUpdate('provider1', 'parent', 'sent');
            echo pcntl_wexitstatus($status);
            PHP;
        $done = Program::code($code);
        self::assertSame([0, '7', ''], [$done->exit, $done->output, $done->errors]);
        [$before, $child, $parent] = array_column($portal->seen()['log'], 'connection');
        self::assertSame($before, $parent, 'the parent keeps its connection');
        self::assertNotSame($before, $child);
        self::assertCount(3, $portal->messages());
    }

    /**
     * PHP 8.4 and later crash if an exception is made in a handler that runs as an FFI call returns. So signals come all
     * the time here, and each function of the library that is called without `Signals::held` would soon be hit.
     */
    public function testSignalsMayComeAtAnyTime(): void
    {
        if (!function_exists('pcntl_fork') || !function_exists('posix_kill')) {
            self::markTestSkipped('PHP has no pcntl or no posix here');
        }
        $done = Program::code(<<<'PHP'
            use B24\MessageService\{Client, Log, Vocabulary};
            $signals = 0;
            pcntl_async_signals(true);
            pcntl_signal(SIGUSR1, static function () use (&$signals): void {
                $signals++;
                (new Exception())->getTraceAsString();
            });
            $parent = getmypid();
            $child = pcntl_fork();
            if ($child === 0) {
                while (posix_kill($parent, SIGUSR1) && posix_getppid() === $parent) {
                    usleep(20);
                }
                posix_kill(posix_getpid(), SIGKILL);
            }
            $tried = static function (Closure $call): void {
                try {
                    $call();
                } catch (B24\MessageService\Exception\InvalidArgument) {
                }
            };
            while ($signals < 5000) {
                $client = new Client('portal.bitrix24.test', access_token: 'token');
                $client->withTimeout(1.0)->tokens();
                $client->onRenewal(static fn () => null);
                $tried(static fn () => $client->senderAdd('no code!', 'https://handler.test/', ['en' => 'name']));
                $tried(static fn () => $client->messageStatusUpdateBatch([['no code!', 'm1', 'sent']]));
                Client::renewalsWait(0.0);
                (new Vocabulary('smpp'))->status('DELIVRD');
                Log::to(null);
            }
            pcntl_signal(SIGUSR1, SIG_IGN);
            posix_kill($child, SIGKILL);
            echo 'ended';
            PHP);
        self::assertSame([0, 'ended'], [$done->exit, $done->output], $done->errors);
    }

    public function testASignalHandlerMayCallTheClientThatIsInACall(): void
    {
        if (!function_exists('pcntl_fork') || !function_exists('posix_kill')) {
            self::markTestSkipped('PHP has no pcntl or no posix here');
        }
        $portal = Portal::fresh();
        $portal->fault('hang');
        $client = $portal->client(['max_retries' => 0]);
        $inner = null;
        $handler = static function () use ($client, &$inner): void {
            try {
                $client->messageStatusUpdate('no code!', 'm1', 'sent');
            } catch (InvalidArgument $error) {
                $inner = $error;
            }
        };
        $async = pcntl_async_signals(true);
        pcntl_signal(SIGUSR1, $handler);
        $child = pcntl_fork();
        if ($child === 0) {
            $portal->wait(1, timeout: 30);
            posix_kill(posix_getppid(), SIGUSR1);
            $portal->release();
            // Not by exit: PHPUnit and the emulator are the parent's to end.
            posix_kill(posix_getpid(), SIGKILL);
        }
        $outer = null;
        try {
            $client->messageStatusUpdate('provider1', 'm1', 'sent');
        } catch (Exception\MessageServiceException $outer) {
        } finally {
            pcntl_waitpid($child, $status);
            pcntl_signal(SIGUSR1, SIG_DFL);
            pcntl_async_signals($async);
        }
        self::assertStringContainsString('code', (string) $inner?->getMessage());
        self::assertInstanceOf(Exception\TransportError::class, $outer, (string) $outer);
    }
}
