<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Provider;
use B24\MessageService\Status;
use B24\Portal\Portal;
use PHPUnit\Framework\TestCase;

/**
 * A store in PostgreSQL beside the tables of a host that uses PDO, which reports receipts in its own
 * transactions.
 */
final class PostgresTest extends TestCase
{
    private const REPORT = 'SELECT b24_report(?, ?, ?, ?)';

    /** @var resource|null */
    private static $server = null;

    /** @var array<int, resource> */
    private static array $pipes = [];

    /** @var array<string, string> */
    private static array $names = [];

    public static function setUpBeforeClass(): void
    {
        $started = proc_open(
            ['python3', '-m', 'pg_server', '--fsync', 'off'],
            [['pipe', 'r'], ['pipe', 'w']],
            self::$pipes,
            dirname(__DIR__, 3) . '/tests/postgres'
        );
        self::$server = $started ?: throw new \RuntimeException('python3 cannot be started');
        $names = json_decode((string) fgets(self::$pipes[1]), true, flags: JSON_THROW_ON_ERROR);
        self::$names = isset($names['error']) ? throw new \RuntimeException($names['error']) : $names;
    }

    public static function tearDownAfterClass(): void
    {
        // It stops the server when its input ends.
        fclose(self::$pipes[0]);
        proc_close(self::$server);
    }

    private static function host(): \PDO
    {
        $names = self::$names;
        return new \PDO(
            "pgsql:host={$names['pg_socket']};port={$names['pg_port']};dbname={$names['pg_database']}",
            $names['pg_administrator'],
            null,
            [\PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION]
        );
    }

    /**
     * A provider whose store is in a new schema, which connections of this host use as well.
     *
     * @return array{Provider, \PDO, string} with the portal's permanent id
     */
    private static function installed(Portal $portal, string $schema): array
    {
        $names = self::$names;
        $host = self::host();
        $host->exec("CREATE SCHEMA $schema");
        $host->exec("SET search_path TO $schema");
        $options = rawurlencode("-c search_path=$schema");
        $provider = new Provider($portal->providerOptions([
            'store' => "postgres://{$names['pg_administrator']}@/{$names['pg_database']}"
                . "?host={$names['pg_socket']}&port={$names['pg_port']}&options=$options",
            'rate_limit' => 'off',
        ]));
        $posted = $portal->install();
        $member = $provider->receive($posted['content_type'], $posted['body'])->memberId;
        return [$provider, $host, $member];
    }

    public function testAReceiptIsPartOfATransaction(): void
    {
        $portal = Portal::fresh();
        [$provider, $host, $member] = self::installed($portal, 'of_transactions');
        $host->exec('CREATE TABLE messages (id TEXT PRIMARY KEY, status TEXT NOT NULL)');
        $report = $host->prepare(self::REPORT);

        $host->beginTransaction();
        $host->exec("INSERT INTO messages VALUES ('m1', 'delivered')");
        $report->execute([$member, 'provider1', 'm1', 'delivered']);
        $host->rollBack();
        self::assertSame(0, $provider->drain(0.3)->sent);

        $host->beginTransaction();
        $host->exec("INSERT INTO messages VALUES ('m2', 'sent')");
        $report->execute([$member, 'provider1', 'm2', 'sent']);
        $host->commit();
        self::assertSame(1, $provider->drain(0.5)->sent);
        self::assertSame(['provider1|m2' => 'sent'], $portal->messages());

        // Ranks are those of `report`.
        $provider->report($member, 'provider1', 'm2', Status::Delivered);
        $report->execute([$member, 'provider1', 'm2', 'queued']);
        self::assertSame(1, $provider->drain(1.0)->sent);
        self::assertSame(['provider1|m2' => 'delivered'], $portal->messages());
    }

    public function testItsCommitIsDurable(): void
    {
        [, $host, $member] = self::installed(Portal::fresh(), 'of_commits');
        $host->exec('SET synchronous_commit = off');
        $host->beginTransaction();
        $host->prepare(self::REPORT)->execute([$member, 'provider1', 'm1', 'sent']);
        self::assertSame('on', $host->query('SHOW synchronous_commit')->fetchColumn());
        $host->commit();
        self::assertSame('off', $host->query('SHOW synchronous_commit')->fetchColumn());
    }

    public function testAWrongStatusEndsTheTransaction(): void
    {
        $portal = Portal::fresh();
        [$provider, $host, $member] = self::installed($portal, 'of_mistakes');
        $host->beginTransaction();
        $report = $host->prepare(self::REPORT);
        $report->execute([$member, 'provider1', 'm1', 'sent']);
        try {
            $report->execute([$member, 'provider1', 'm2', 'arrived']);
            self::fail('it was accepted');
        } catch (\PDOException $refused) {
            self::assertStringContainsString('status', $refused->getMessage());
        }
        $host->rollBack();
        self::assertSame(0, $provider->drain(0.3)->sent);
        self::assertSame([], $portal->messages());
    }
}
