"""Examples of bodies and answers for the API's description. A test validates each by its own model."""

from __future__ import annotations

from typing import Any

PAYMENT_REQUEST: dict[str, Any] = {
    "checkout_id": "cart-1",
    "buyer_info": {"buyer_account": "buyer-7", "name": "Ada Bauer", "email": "ada@example.com", "country": "DE"},
    "payment_method": {"token": "tok_visa"},
    "payment_orders": [
        {
            "payment_order_id": "cart-1-1",
            "seller_account": "seller-3",
            "amount": "12.34",
            "currency": "EUR",
            "platform_fee": "1.00",
        }
    ],
    "deadline": "2030-01-31T12:00:00Z",
    "description": "two cups",
    "metadata": {"shop": "north"},
}

PAYMENT: dict[str, Any] = {
    "checkout_id": "cart-1",
    "status": "succeeded",
    "is_payment_done": True,
    "buyer_account": "buyer-7",
    "description": "two cups",
    "metadata": {"shop": "north"},
    "deadline": "2030-01-31T12:00:00Z",
    "received_at": "2030-01-31T11:00:00Z",
    "payment_orders": [
        {
            "payment_order_id": "cart-1-1",
            "payment_order_status": "SUCCESS",
            "detail": "",
            "decline_code": None,
            "wallet_updated": True,
            "ledger_updated": True,
            "seller_account": "seller-3",
            "amount": "12.34",
            "currency": "EUR",
            "platform_fee": "1.00",
            "capture": "automatic",
            "amount_captured": "12.34",
            "amount_capturable": "0.00",
            "amount_refunded": "4.00",
            "amount_disputed": "0.00",
            "authorisation_expires_at": None,
            "captures": [],
            "voids": [],
            "next_action": None,
        }
    ],
    "links": {"self": "/v1/payments/cart-1"},
}

CAPTURE_REQUEST: dict[str, Any] = {
    "capture_id": "shipment-1",
    "payment_order_id": "cart-1-1",
    "amount": "4.00",
    "currency": "EUR",
    "final": False,
}
REFUND_REQUEST: dict[str, Any] = {
    "refund_id": "return-1",
    "payment_order_id": "cart-1-1",
    "amount": "4.00",
    "currency": "EUR",
    "reason": "a cup was broken",
}

PROBLEM: dict[str, Any] = {
    "type": "/errors#wrong_decimals",
    "title": "Wrong decimals",
    "status": 422,
    "code": "wrong_decimals",
    "detail": "payment_orders[0].amount: EUR has 2 decimals",
    "field": "payment_orders[0].amount",
    "errors": [{"field": "payment_orders[0].amount", "code": "wrong_decimals", "detail": "EUR has 2 decimals"}],
}

WHY = "the PSP is back"

CHECKOUT_SESSION: dict[str, Any] = {
    "checkout_id": "cart-2",
    "buyer_info": {"buyer_account": "buyer-7", "name": "Ada Bauer", "country": "DE"},
    "return_url": "https://shop.example.com/thanks?cart=cart-2",
    "payment_orders": [
        {"payment_order_id": "cart-2-1", "seller_account": "seller-3", "amount": "12.34", "currency": "EUR"}
    ],
}

OF: dict[str, dict[str, Any]] = {
    "PaymentRequest": PAYMENT_REQUEST,
    "CheckoutSessionRequest": CHECKOUT_SESSION,
    "CaptureRequest": CAPTURE_REQUEST,
    "VoidRequest": {"void_id": "void-1", "payment_order_id": "cart-1-1"},
    "RefundRequest": REFUND_REQUEST,
    "Payment": PAYMENT,
    "ProblemDocument": PROBLEM,
    "EndpointRequest": {"url": "https://shop.example.com/hooks", "event_types": ["payment.completed"]},
    "SellerRequest": {
        "name": "Anna Beispiel",
        "country": "DE",
        "hold_days": 2,
        "reserve": {"percent": "10", "days": 90},
        "fee_plan": {"percent": "2.9", "fixed": [{"amount": "0.30", "currency": "EUR"}]},
        "destination": {"type": "iban", "iban": "DE89370400440532013000", "holder": "Anna Beispiel"},
        "schedules": [{"currency": "EUR", "every": "week", "weekday": 1, "at": "06:00", "minimum": "25.00"}],
    },
    "PayoutRequest": {
        "payout_id": "po-7",
        "seller_account": "s-1",
        "amount": "12.00",
        "currency": "EUR",
        "description": "May",
    },
    "ApprovalRequest": {"decision": "approved", "sha256": "0123456789abcdef" * 4, "reason": "invoice 88 seen"},
    "ReplayRequest": {"room": "payments", "filter": {"code": "unknown_payment"}, "rate": 50, "reason": WHY},
    "ActRequest": {"room": "payments", "letters": ["0e9e9d59"], "dry_run": True, "reason": "a test order"},
    "EditRequest": {"value": {"checkout_id": "cart-1"}, "reason": "the seller was misspelt"},
    "ApproveRequest": {"sha256": "0123456789abcdef" * 4, "reason": "compared with the shop's own record"},
    "ResumeRequest": {"reason": WHY},
    "FileDecisionRequest": {"reason": "the PSP confirms the total by mail"},
}
